import { parseList } from '../util/cpu-list.js';
import type { TopologySource } from './source.js';

/** One NUMA node, cut to what this process may use. */
export interface MachineNode {
  readonly node: number;
  /** Ascending; empty where the node has only memory, or its CPUs aren't ours. */
  readonly cpus: readonly number[];
  /** The package of its first CPU; absent without CPUs. */
  readonly socket?: number;
  /** Whether it has memory that we may use. */
  readonly hasMemory: boolean;
  /** Whether no CPU of the machine is there: a GPU's memory, or an expansion card's. */
  readonly isMemoryOnly: boolean;
  /** Distances to each node of `nodes`, in their order; empty if the machine doesn't tell. */
  readonly distances: readonly number[];
}

export interface Topology {
  /** Ascending. Never empty: a kernel without NUMA has one node. */
  readonly nodes: readonly MachineNode[];
  /** The first hyperthread of each CPU's core, whether we may use that one or not. */
  readonly coreOf: ReadonlyMap<number, number>;
  /** The first CPU that shares the CPU's last-level cache. */
  readonly cacheOf: ReadonlyMap<number, number>;
}

const cpuFolder = '/sys/devices/system/cpu';
const nodeFolder = '/sys/devices/system/node';

/**
 * Reads few files: siblings and caches only when they're asked for, once for each group of CPUs, and
 * only of CPUs that are ours.
 *
 * @source Linux, Documentation/ABI/stable/sysfs-devices-node and sysfs-devices-system-cpu
 */
export function readTopology(source: TopologySource): Topology {
  const status = source.read('/proc/self/status') ?? '';
  const allowed = new Set(parseList(fieldOf(status, 'Cpus_allowed_list') ?? '') ?? []);
  const memoryAllowed = parseList(fieldOf(status, 'Mems_allowed_list') ?? '');
  const nodes = readNodes(source, allowed, memoryAllowed);
  const cpus = nodes.flatMap(({ cpus }) => cpus);
  let coreOf: Topology['coreOf'] | undefined;
  let cacheOf: Topology['cacheOf'] | undefined;
  return {
    nodes,
    get coreOf() {
      coreOf ??= grouped(cpus, cpu => siblings(source, cpu));
      return coreOf;
    },
    get cacheOf() {
      cacheOf ??= grouped(cpus, cpu => lastCache(source, cpu));
      return cacheOf;
    },
  };
}

function siblings(source: TopologySource, cpu: number): string | undefined {
  const folder = `${cpuFolder}/cpu${cpu}/topology`;
  return source.read(`${folder}/thread_siblings_list`) ?? source.read(`${folder}/core_cpus_list`);
}

function readNodes(
  source: TopologySource,
  allowed: ReadonlySet<number>,
  memoryAllowed: readonly number[] | undefined,
): MachineNode[] {
  const online = parseList(source.read(`${nodeFolder}/online`) ?? '') ?? [];
  // A kernel without NUMA has no such folder, and a sandbox may hide it.
  if (online.length === 0) {
    return [
      nodeOf(source, 0, [...allowed], { hasMemory: true, isMemoryOnly: false, distances: [] }),
    ];
  }

  const withMemory = parseList(source.read(`${nodeFolder}/has_memory`) ?? '') ?? online;
  return online.map(node => {
    const folder = `${nodeFolder}/node${node}`;
    const cpus = parseList(source.read(`${folder}/cpulist`) ?? '') ?? [];
    const distances = (source.read(`${folder}/distance`) ?? '').trim().split(/\s+/).map(Number);
    return nodeOf(
      source,
      node,
      cpus.filter(cpu => allowed.has(cpu)),
      {
        isMemoryOnly: cpus.length === 0,
        hasMemory: withMemory.includes(node) && (memoryAllowed?.includes(node) ?? true),
        distances: distances.length === online.length ? distances : [],
      },
    );
  });
}

function nodeOf(
  source: TopologySource,
  node: number,
  cpus: readonly number[],
  more: Pick<MachineNode, 'hasMemory' | 'isMemoryOnly' | 'distances'>,
): MachineNode {
  const [first] = cpus;
  if (first === undefined) return { node, cpus, ...more };

  const text = source.read(`${cpuFolder}/cpu${first}/topology/physical_package_id`);
  // Some ARM firmware says -1: one package then.
  return { node, cpus, socket: Math.max(Number(text ?? 0), 0), ...more };
}

/** The first of each CPU's group; a CPU whose list can't be read is alone. */
function grouped(
  cpus: readonly number[],
  listOf: (cpu: number) => string | undefined,
): ReadonlyMap<number, number> {
  const firstOf = new Map<number, number>();
  for (const cpu of cpus) {
    if (firstOf.has(cpu)) continue;
    const group = parseList(listOf(cpu) ?? '') ?? [];
    const first = group[0] ?? cpu;
    for (const each of [cpu, ...group]) firstOf.set(each, first);
  }
  return firstOf;
}

/** The list of CPUs that share the cache of the highest level. Looks at levels, as `index3` needn't be level 3. */
function lastCache(source: TopologySource, cpu: number): string | undefined {
  const folder = `${cpuFolder}/cpu${cpu}/cache`;
  const indexes = source.list(folder).filter(name => /^index\d+$/.test(name));
  let level = -1;
  let last: string | undefined;
  // From the end: mostly the first is the last-level cache, and the rest costs one read each.
  for (const index of indexes.sort().reverse()) {
    const own = Number(source.read(`${folder}/${index}/level`) ?? -1);
    if (own <= level || source.read(`${folder}/${index}/type`)?.trim() === 'Instruction') continue;
    level = own;
    last = `${folder}/${index}/shared_cpu_list`;
  }
  return last === undefined ? undefined : source.read(last);
}

/**
 * The NUMA node of a PCI device. Firmware often says -1 of a device and knows better of the bridge
 * above it, or gives the near CPUs only.
 *
 * @param address as sysfs has it: `0000:3b:00.0`
 * @returns undefined if nothing tells
 */
export function nodeOfPci(
  source: TopologySource,
  topology: Topology,
  address: string,
): number | undefined {
  const known = new Set(topology.nodes.map(({ node }) => node));
  const link = `/sys/bus/pci/devices/${address}`;
  const told = (folder: string): number => Number(source.read(`${folder}/numa_node`) ?? -1);
  const own = told(link);
  if (known.has(own)) return own;

  let path = source.resolve(link);
  while (/\/[0-9a-f]{4,}:[0-9a-f]{2}:[^/]*$/.test(path)) {
    const node = told(path);
    if (known.has(node)) return node;
    path = path.slice(0, path.lastIndexOf('/'));
  }

  const near = new Set(parseList(source.read(`${link}/local_cpulist`) ?? '') ?? []);
  const fitting = topology.nodes.filter(({ cpus }) => cpus.some(cpu => near.has(cpu)));
  // Near to all is what a firmware says that knows nothing, save where there's one node.
  return fitting.length === 1 ? fitting[0]?.node : undefined;
}

function fieldOf(status: string, name: string): string | undefined {
  return new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1];
}
