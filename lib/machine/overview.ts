import { machineGpus } from '../gpu/present.js';
import { formatList } from '../util/cpu-list.js';
import { coresOf, groupsOf } from './cut.js';
import type { DeviceSource, TopologySource } from './source.js';
import { nodeOfPci, readTopology, type Topology } from './topology.js';

/** What people want to see of a machine; plain data, which `regroup topology --json` prints. */
export interface MachineOverview {
  /** CPUs that this process may use, as lists: `0-3,8`. */
  readonly cpus: string;
  readonly nodes: readonly NodeOverview[];
  readonly gpus: readonly DeviceOverview[];
  readonly nics: readonly DeviceOverview[];
}

export interface NodeOverview {
  readonly node: number;
  readonly socket?: number;
  /** CPUs of the node that are ours; empty: it has only memory, or others' CPUs. */
  readonly cpus: string;
  readonly cores: number;
  /** Threads of the core that has most. */
  readonly threadsPerCore: number;
  /** The node's CPUs that share a last-level cache each; the cache may be other nodes', too. */
  readonly caches: readonly string[];
  /** Memory of the node; absent where the machine doesn't tell. */
  readonly memoryBytes?: number;
  readonly isMemoryOnly: boolean;
  /** Distances to each of `nodes`, 10 being the node itself; empty where the machine doesn't tell. */
  readonly distances: readonly number[];
}

export interface DeviceOverview {
  /** `GPU 0`, or the kernel's name: `mlx5_0`. */
  readonly name: string;
  /** Address of sysfs: `0000:3b:00.0`. */
  readonly pci: string;
  readonly uuid?: string;
  /** NUMA node; absent where nothing tells. */
  readonly node?: number;
}

/** Plain reads below the source's root; nothing is loaded, and no device is woken. */
export function overviewOf(source: TopologySource): MachineOverview {
  const topology = readTopology(source);
  const nodeOf = (pci: string): { node?: number } => {
    const node = nodeOfPci(source, topology, pci);
    return node === undefined ? {} : { node };
  };
  return {
    cpus: formatList(topology.nodes.flatMap(({ cpus }) => cpus).sort((a, b) => a - b)),
    nodes: topology.nodes.map(node => nodeOverview(topology, node, source)),
    gpus: machineGpus(source).map(({ uuid, pci }, index) => ({
      name: `GPU ${index}`,
      pci,
      ...(uuid === '' ? {} : { uuid }),
      ...nodeOf(pci),
    })),
    nics: nicsOf(source).map(nic => ({ ...nic, ...nodeOf(nic.pci) })),
  };
}

function nodeOverview(
  topology: Topology,
  { node, socket, cpus, isMemoryOnly, distances }: Topology['nodes'][number],
  source: DeviceSource,
): NodeOverview {
  const cores = coresOf(topology, cpus);
  const memory = source.read(`/sys/devices/system/node/node${node}/meminfo`) ?? '';
  const kibibytes = /MemTotal:\s*(\d+) kB/.exec(memory)?.[1];
  return {
    node,
    ...(socket === undefined ? {} : { socket }),
    cpus: formatList(cpus),
    cores: cores.length,
    threadsPerCore: Math.max(0, ...cores.map(threads => threads.length)),
    caches: groupsOf(cpus, topology.cacheOf).map(([, sharing]) => formatList(sharing)),
    ...(kibibytes === undefined ? {} : { memoryBytes: Number(kibibytes) * 1024 }),
    isMemoryOnly,
    distances,
  };
}

/**
 * Cards that have a PCI function, by the names of their RDMA devices, else of their interfaces.
 *
 * @source Linux, Documentation/ABI/stable/sysfs-class-infiniband and testing/sysfs-class-net
 */
function nicsOf(source: TopologySource): readonly DeviceOverview[] {
  const byPci = new Map<string, string>();
  for (const folder of ['/sys/class/infiniband', '/sys/class/net']) {
    for (const name of [...source.list(folder)].sort()) {
      const pci = pciAbove(source.resolve(`${folder}/${name}/device`));
      if (pci !== undefined && !byPci.has(pci)) byPci.set(pci, name);
    }
  }
  return [...byPci].map(([pci, name]) => ({ name, pci }));
}

/** A virtio interface's device is a child of its PCI function. */
function pciAbove(path: string): string | undefined {
  return path
    .split('/')
    .reverse()
    .find(part => /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(part));
}
