import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TopologySource } from '../../lib/machine/source.js';
import { formatList, parseList } from '../../lib/util/cpu-list.js';

/** A machine in few words; `source` says who describes it so. */
export interface Machine {
  readonly source: string;
  readonly sockets: number;
  readonly nodesPerSocket: number;
  readonly coresPerNode: number;
  /** Second threads are numbered behind all cores, as Linux does on x86. */
  readonly threadsPerCore: number;
  /** Of the last level; more than `coresPerNode` where nodes of a socket share one. */
  readonly coresPerCache: number;
  /** What `numa_node` says of each GPU, in CUDA's order. */
  readonly gpuNodes: readonly number[];
  readonly memoryOnlyNodes?: number;
  /** Nodes behind them that have neither CPUs nor memory. */
  readonly emptyNodes?: number;
  /** The affinity mask. @default all */
  readonly allowed?: string;
}

const folder = join(process.cwd(), 'test/fixtures/machines');

export const machines: readonly (readonly [name: string, machine: Machine])[] = readdirSync(folder)
  .filter(name => name.endsWith('.json'))
  .sort()
  .map(name => [name.slice(0, -5), JSON.parse(readFileSync(join(folder, name), 'utf8'))]);

/** The files that Linux would have there, as far as placement reads them. */
export function filesOf(machine: Machine): Readonly<Record<string, string>> {
  const files: Record<string, string> = {};
  const { coresPerNode, threadsPerCore, coresPerCache } = machine;
  const cpuNodes = machine.sockets * machine.nodesPerSocket;
  const cores = cpuNodes * coresPerNode;
  const withMemory = cpuNodes + (machine.memoryOnlyNodes ?? 0);
  const all = withMemory + (machine.emptyNodes ?? 0);
  const threads = (first: number, count: number): number[] =>
    Array.from({ length: threadsPerCore }, (_, thread) =>
      Array.from({ length: count }, (_, core) => thread * cores + first + core),
    ).flat();
  const list = (numbers: readonly number[]): string => `${formatList(numbers)}\n`;

  const nodes = Array.from({ length: all }, (_, node) => node);
  files['/sys/devices/system/node/online'] = list(nodes);
  files['/sys/devices/system/node/possible'] = list(nodes);
  const memoryNodes = nodes.slice(0, withMemory);
  files['/sys/devices/system/node/has_memory'] = list(memoryNodes);
  const socketOf = (node: number): number => Math.floor(node / machine.nodesPerSocket);
  for (const node of nodes) {
    const path = `/sys/devices/system/node/node${node}`;
    files[`${path}/cpulist`] =
      node < cpuNodes ? list(threads(node * coresPerNode, coresPerNode)) : '\n';
    const distances = nodes.map(other =>
      other === node ? 10 : socketOf(other) === socketOf(node) ? 12 : 32,
    );
    files[`${path}/distance`] = `${distances.join(' ')}\n`;
  }

  for (let cpu = 0; cpu < cores * threadsPerCore; cpu++) {
    const core = cpu % cores;
    const path = `/sys/devices/system/cpu/cpu${cpu}`;
    files[`${path}/topology/thread_siblings_list`] = list(threads(core, 1));
    files[`${path}/topology/physical_package_id`] =
      `${socketOf(Math.floor(core / coresPerNode))}\n`;
    const coresPerSocket = coresPerNode * machine.nodesPerSocket;
    const inSocket = core % coresPerSocket;
    const first = core - (inSocket % coresPerCache);
    const count = Math.min(coresPerCache, coresPerSocket - inSocket + (inSocket % coresPerCache));
    const caches: [level: number, type: string, cpus: number[]][] = [
      [1, 'Data', threads(core, 1)],
      [1, 'Instruction', threads(core, 1)],
      [2, 'Unified', threads(core, 1)],
      [3, 'Unified', threads(first, count)],
    ];
    caches.forEach(([level, type, cpus], index) => {
      files[`${path}/cache/index${index}/level`] = `${level}\n`;
      files[`${path}/cache/index${index}/type`] = `${type}\n`;
      files[`${path}/cache/index${index}/shared_cpu_list`] = list(cpus);
    });
  }

  machine.gpuNodes.forEach((node, gpu) => {
    files[`/sys/bus/pci/devices/${pciOf(gpu)}/numa_node`] = `${node}\n`;
    files[`/proc/driver/nvidia/gpus/${pciOf(gpu)}/information`] =
      `Model: \t\t NVIDIA\nGPU UUID: \t GPU-${gpu}0000000-0000-0000-0000-000000000000\n`;
  });
  files['/proc/self/status'] =
    `Name:\tnode\nCpus_allowed_list:\t${formatList(allowedOf(machine))}\nMems_allowed_list:\t${formatList(memoryNodes)}\n`;
  return files;
}

export function allowedOf(machine: Machine): readonly number[] {
  const { sockets, nodesPerSocket, coresPerNode, threadsPerCore } = machine;
  const count = sockets * nodesPerSocket * coresPerNode * threadsPerCore;
  return parseList(machine.allowed ?? `0-${count - 1}`) ?? [];
}

/** Buses by which CUDA's order is PCI order. */
export function pciOf(gpu: number): string {
  return `0000:${(0x10 + gpu).toString(16)}:00.0`;
}

export function sourceOf(files: Readonly<Record<string, string>>): TopologySource {
  const folders = new Map<string, Set<string>>();
  for (const path of Object.keys(files)) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      const names = folders.get(parent) ?? new Set();
      folders.set(parent, names.add(parts[depth] ?? ''));
    }
  }
  return {
    read: path => files[path],
    list: path => [...(folders.get(path) ?? [])],
    resolve: path => path,
  };
}
