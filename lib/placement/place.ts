import { launchError } from '../errors.js';
import { workerGpus } from '../gpu/present.js';
import { cutTopology } from '../machine/cut.js';
import type { TopologySource } from '../machine/source.js';
import { nodeOfPci, readTopology, type Topology } from '../machine/topology.js';
import type { Placement } from '../options/machine/placement.js';
import { formatList, parseList } from '../util/cpu-list.js';
import { ompEnv } from './env.js';
import { type Binding, type BindingRequest, type Bound, bind, bindingOf } from './policy.js';

/** What a job's workers are bound to, the same in every round. */
export interface Placed {
  /** Each worker's binding, by local rank; absent: not bound. */
  readonly bindings: readonly (Binding | undefined)[];
  /** Whether a refusal by the kernel is told instead of failing the start. */
  readonly optionalCpus: boolean;
  readonly optionalMemory: boolean;
  /** What each bound worker's environment says of it, by local rank. */
  readonly env: readonly (Readonly<Record<string, string>> | undefined)[];
  /** Why nothing is bound, though it was asked for. */
  readonly trouble?: string;
}

/**
 * Reads the machine and decides. What depends on it is read once: a cpuset that changes while a job
 * runs moves its workers by itself.
 *
 * @throws ERR_PLACEMENT unless `fallback` is set
 */
export function place(
  placement: Placement,
  ranks: number,
  env: Readonly<Record<string, string | undefined>>,
  source: TopologySource,
): Placed {
  const topology = readTopology(source);
  const memory = placement.memory ?? 'preferred';
  const bound =
    placement.cpus === undefined
      ? bindByMode(topology, placement, {
          memory,
          ranks,
          gpuNodes: workerGpus(env, source).map(gpu => gpu && nodeOfPci(source, topology, gpu.pci)),
        })
      : bindAsSaid(topology, placement.cpus, ranks, memory);
  const fallback = placement.fallback ?? false;
  if ('impossible' in bound) {
    if (!fallback) throw launchError('ERR_PLACEMENT', [bound.impossible]);
    const optional = { optionalCpus: true, optionalMemory: true };
    return { bindings: [], env: [], ...optional, trouble: bound.impossible };
  }

  return {
    bindings: bound.bindings,
    env: placement.ompPlaces
      ? bound.bindings.map(binding => binding && ompEnv(topology, binding.cpus, env))
      : [],
    optionalCpus: fallback,
    // Nobody asked for a memory policy that's there by default, and containers often forbid to set one.
    optionalMemory: fallback || placement.memory === undefined,
  };
}

function bindByMode(
  topology: Topology,
  placement: Placement,
  request: Omit<BindingRequest, 'mode'>,
): Bound {
  const { mode = 'auto', reserveCores = 0, threadsPerCore } = placement;
  const isCut = reserveCores > 0 || threadsPerCore !== undefined;
  if (!isCut) return bind(topology, { ...request, mode });

  const cut = cutTopology(topology, placement);
  if ('impossible' in cut) return cut;
  // Where auto finds nothing to choose, what's kept back must still be kept.
  return bind(cut, { ...request, mode: mode === 'auto' ? 'node' : mode });
}

function bindAsSaid(
  topology: Topology,
  said: Readonly<Record<number, string>>,
  ranks: number,
  memory: NonNullable<Placement['memory']>,
): Bound<Binding | undefined> {
  const ours = new Set(topology.nodes.flatMap(({ cpus }) => cpus));
  const beyond = Object.keys(said).find(rank => Number(rank) >= ranks);
  if (beyond !== undefined) {
    return { impossible: `there is no local rank ${beyond} among ${ranks} workers` };
  }

  const lists = Array.from({ length: ranks }, (_, rank) => parseList(said[rank] ?? '') ?? []);
  const foreign = lists.flat().filter(cpu => !ours.has(cpu));
  if (foreign.length > 0) {
    const list = formatList([...new Set(foreign)].sort((a, b) => a - b));
    return { impossible: `CPUs ${list} are not among those that this process may use` };
  }
  return {
    bindings: lists.map(cpus =>
      cpus.length === 0 ? undefined : bindingOf(topology, cpus, memory),
    ),
  };
}

/** Describes a binding for people: `CPUs 0-7, memory preferred on node 0`. */
export function describeBinding({ cpus, memory }: Binding): string {
  const own = `CPUs ${formatList(cpus)}`;
  if (memory === undefined) return own;
  const nodes = `node${memory.nodes.length === 1 ? '' : 's'} ${formatList(memory.nodes)}`;
  return `${own}, memory ${memory.mode} on ${nodes}`;
}
