import type { LaunchPlan } from '../../launch.js';
import type { DeviceOverview, MachineOverview, NodeOverview } from '../../machine/overview.js';
import { columns } from './columns.js';

/**
 * The machine as a drawing, and who would run where. Pure.
 *
 * @param plan absent: what was asked for can't be had
 */
export function topologyText(
  machine: MachineOverview,
  plan: Pick<LaunchPlan, 'workers'> | undefined,
  mode: string,
): string {
  const workers = plan === undefined ? [] : ['', ...drawPlan(plan, mode)];
  return [...drawMachine(machine), ...workers].join('\n');
}

function drawMachine({ cpus, nodes, gpus, nics }: MachineOverview): readonly string[] {
  const devices = [...gpus, ...nics];
  const sockets = new Map<number | undefined, NodeOverview[]>();
  for (const node of nodes) sockets.set(node.socket, [...(sockets.get(node.socket) ?? []), node]);
  const drawn = [...sockets].flatMap(([socket, own]) => [
    socket === undefined ? 'without CPUs of ours' : `socket ${socket}`,
    ...own.flatMap(node => [drawNode(node), ...node.caches.map(drawCache), ...at(node.node)]),
  ]);
  const nowhere = at(undefined);
  return [
    `${count(sockets.size - (sockets.has(undefined) ? 1 : 0), 'socket')}, ${count(nodes.length, 'NUMA node')}; ` +
      `this process may use CPUs ${cpus}`,
    '',
    ...drawn,
    ...(nowhere.length === 0 ? [] : ['near no node that is known', ...nowhere]),
    ...drawDistances(nodes),
  ];

  function at(node: number | undefined): readonly string[] {
    return devices.filter(device => device.node === node).map(drawDevice);
  }
}

function drawNode(node: NodeOverview): string {
  const memory = node.memoryBytes === undefined ? '' : gibibytes(node.memoryBytes);
  if (node.cpus === '') return `  node ${node.node}  no CPUs  ${memory}`.trimEnd();
  const threads = node.threadsPerCore > 1 ? ` × ${node.threadsPerCore} threads` : '';
  const cores = `${count(node.cores, 'core')}${threads}`;
  return `  node ${node.node}  CPUs ${node.cpus}  ${cores}  ${memory}`.trimEnd();
}

function drawCache(cpus: string): string {
  return `    cache  ${cpus}`;
}

function drawDevice({ name, pci, uuid = '' }: DeviceOverview): string {
  return `    ${name}  ${pci}  ${uuid}`.trimEnd();
}

/** Worth a table only where some differ from the others. */
function drawDistances(nodes: readonly NodeOverview[]): readonly string[] {
  if (nodes.length < 3 || nodes.some(({ distances }) => distances.length === 0)) return [];
  const header = ['node', ...nodes.map(({ node }) => String(node))];
  const rows = nodes.map(({ node, distances }) => [String(node), ...distances.map(String)]);
  return ['', 'distances', ...columns([header, ...rows]).map(line => `  ${line}`)];
}

function drawPlan({ workers }: Pick<LaunchPlan, 'workers'>, mode: string): readonly string[] {
  const rows = workers.map(({ localRank, gpu, binding = 'not bound' }) => [
    String(localRank),
    gpu ?? '-',
    binding,
  ]);
  const title = `workers, binding: ${mode}`;
  return [title, ...columns([['local rank', 'GPU', 'bound to'], ...rows]).map(line => `  ${line}`)];
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0)} GiB`;
}
