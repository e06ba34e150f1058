import { coresOf, groupsOf } from '../machine/cut.js';
import type { MachineNode, Topology } from '../machine/topology.js';
import type { NativeMemoryPolicy } from '../native/plan.js';
import type { BindingMode, MemoryMode } from '../options/machine/placement.js';

export interface BindingRequest {
  readonly mode: BindingMode;
  readonly memory: MemoryMode;
  readonly ranks: number;
  /**
   * The NUMA node of each GPU that workers see, in CUDA's order; undefined where nobody knows. Empty:
   * workers use none.
   */
  readonly gpuNodes: readonly (number | undefined)[];
}

/** Where one worker runs. */
export interface Binding {
  /** Ascending, never empty. */
  readonly cpus: readonly number[];
  readonly memory?: NativeMemoryPolicy;
}

export type Bound<B = Binding> =
  /** Bindings by local rank; empty: nothing to bind, which only `auto` finds. */
  { readonly bindings: readonly B[] } | { readonly impossible: string };

/**
 * A binding for each local rank; pure. CPU sets are torchrun's wherever it has some: it fails without
 * GPUs, and takes each GPU of unknown node for one of node 0.
 *
 * @source pytorch v2.13.0, torch/numa/binding.py
 */
export function bind(topology: Topology, request: BindingRequest): Bound {
  const { mode, ranks } = request;
  const usable = topology.nodes.filter(({ cpus }) => cpus.length > 0);
  if (usable.length === 0)
    return { impossible: 'no NUMA node has a CPU that this process may use' };
  if (mode === 'auto' && usable.length === 1) return { bindings: [] };

  const nodes = deviceNodes(usable, request);
  const bindings: Binding[] = [];
  for (let rank = 0; rank < ranks; rank++) {
    const node = usable.find(each => each.node === nodes[rank]);
    if (node === undefined) {
      return {
        impossible: `node ${nodes[rank]} of GPU ${rank} has no CPU that this process may use`,
      };
    }
    const peers = nodes.flatMap((each, device) => (each === node.node ? [device] : []));
    const cpus = cpusOf(topology, usable, node, {
      mode,
      index: peers.indexOf(rank),
      count: peers.length,
    });
    if (typeof cpus === 'string') return { impossible: cpus };
    bindings.push(bindingOf(topology, cpus, request.memory));
  }
  return { bindings };
}

/** A binding to given CPUs: those that people named. */
export function bindingOf(
  topology: Topology,
  cpus: readonly number[],
  memory: MemoryMode,
): Binding {
  const policy = memoryOf(topology, new Set(cpus), memory);
  return policy === undefined ? { cpus } : { cpus, memory: policy };
}

/**
 * The node of each device, and of ranks beyond them: two ranks may share a GPU. Where nothing is
 * known of any, neighbours share a node and nodes differ by one rank at most.
 */
function deviceNodes(
  usable: readonly MachineNode[],
  { ranks, gpuNodes }: BindingRequest,
): readonly number[] {
  const count = Math.max(ranks, gpuNodes.length);
  const areKnown = gpuNodes.some(node => node !== undefined);
  return Array.from({ length: count }, (_, device) => {
    const spread = areKnown
      ? usable[device % usable.length]
      : usable[Math.floor((device * usable.length) / count)];
    const known = gpuNodes.length === 0 ? undefined : gpuNodes[device % gpuNodes.length];
    return known ?? spread?.node ?? 0;
  });
}

function cpusOf(
  topology: Topology,
  usable: readonly MachineNode[],
  node: MachineNode,
  share: { readonly mode: BindingMode; readonly index: number; readonly count: number },
): readonly number[] | string {
  switch (share.mode) {
    case 'node':
    case 'auto':
      return node.cpus;
    case 'socket':
      return ascending(usable.filter(each => each.socket === node.socket).flatMap(n => n.cpus));
    case 'exclusive':
      return exclusiveCpus(topology, node, share);
    default: {
      const caches = groupsOf(node.cpus, topology.cacheOf);
      // The largest first, so that few workers get whole caches where some are cut by a cpuset.
      caches.sort(([one, a], [other, b]) => b.length - a.length || one - other);
      return caches[share.index % caches.length]?.[1] ?? node.cpus;
    }
  }
}

/** Whole cores for each, the first ones get one more where they don't divide evenly. */
function exclusiveCpus(
  topology: Topology,
  { node, cpus }: MachineNode,
  { index, count }: { readonly index: number; readonly count: number },
): readonly number[] | string {
  const cores = coresOf(topology, cpus);
  const each = Math.floor(cores.length / count);
  const more = cores.length % count;
  if (each < 1) {
    return `node ${node} has ${cores.length} cores for ${count} workers that each want one of their own`;
  }

  const start = index * each + Math.min(index, more);
  const own = cores.slice(start, start + each + (index < more ? 1 : 0));
  return ascending(own.flat());
}

/** A binding's memory policy; none where there's no choice: set_mempolicy is forbidden in many containers. */
function memoryOf(
  { nodes }: Topology,
  cpus: ReadonlySet<number>,
  mode: MemoryMode,
): NativeMemoryPolicy | undefined {
  const all = nodes.filter(({ hasMemory }) => hasMemory);
  if (mode === 'none' || all.length < 2) return undefined;
  if (mode === 'interleave') {
    // The memory of GPUs and of expansion cards is a node, too, and slower by far.
    const near = all.filter(({ isMemoryOnly }) => !isMemoryOnly);
    return { mode, nodes: near.map(({ node }) => node) };
  }

  const own = nodes.filter(node => node.cpus.some(cpu => cpus.has(cpu)));
  const near = own.flatMap(node => (node.hasMemory ? node : nearest(node, nodes)) ?? []);
  const chosen = ascending([...new Set(near.map(({ node }) => node))]);
  return chosen.length === 0 ? undefined : { mode, nodes: chosen };
}

/** The one with memory that's nearest to a node without. */
function nearest(from: MachineNode, nodes: readonly MachineNode[]): MachineNode | undefined {
  let best: MachineNode | undefined;
  let least = Number.POSITIVE_INFINITY;
  nodes.forEach((node, index) => {
    const distance = from.distances[index] ?? Number.MAX_SAFE_INTEGER;
    if (!node.hasMemory || node.isMemoryOnly || distance >= least) return;
    best = node;
    least = distance;
  });
  return best;
}

function ascending(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}
