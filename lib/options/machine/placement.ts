import { maxListed, parseList } from '../../util/cpu-list.js';
import { type Check, fieldsOf, flag, isRecord, isWhole, oneOf } from '../checks.js';

/** torchrun's four, and `auto`: the GPU's node, else an even spread over nodes, else nothing. */
export type BindingMode = 'node' | 'socket' | 'exclusive' | 'core-complex' | 'auto';
export type MemoryMode = 'bind' | 'preferred' | 'interleave' | 'none';

/** Where workers run. */
export interface Placement {
  /**
   * `node`, `socket`, `exclusive` and `core-complex` are torchrun's; `auto` is the node of the GPU,
   * else an even spread over nodes, and nothing on a machine with one. @default 'auto', unless `cpus` is given
   */
  readonly mode?: BindingMode;
  /** CPUs by local rank, as the kernel writes them, `0-7,16`. In place of `mode`; ranks that aren't named are free. */
  readonly cpus?: Readonly<Record<number, string>>;
  /**
   * Where memory comes from: the binding's nodes only, those first, all nodes in turn, or as the
   * kernel likes. Not set where there's one node. @default 'preferred', left away where the kernel refuses it
   */
  readonly memory?: MemoryMode;
  /** Whole cores that no worker gets, from the nodes that have most of them. Not with `cpus`. @default 0 */
  readonly reserveCores?: number;
  /** Hardware threads of each core that workers get. Not with `cpus`. @default all */
  readonly threadsPerCore?: number;
  /**
   * Sets OMP_PLACES to the cores of each worker, and OMP_NUM_THREADS to their number unless it's set.
   * @default false
   */
  readonly ompPlaces?: boolean;
  /** A binding that can't be had is told by `placement-trouble`, and workers start without. @default false */
  readonly fallback?: boolean;
}

export interface PlacementOptions {
  /** CPUs and memory of each worker. @default where the kernel puts them */
  readonly placement?: Placement;
  /**
   * Each worker sees the GPU of its local rank only: its entry of CUDA_VISIBLE_DEVICES (or of
   * HIP_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, ZE_AFFINITY_MASK) as it's written there, else the GPU's
   * UUID or number. LOCAL_RANK stays. @default false
   */
  readonly gpuPerRank?: boolean;
}

export const placementDefaults = { gpuPerRank: false } as const;

export const bindingModes: readonly BindingMode[] = [
  'node',
  'socket',
  'exclusive',
  'core-complex',
  'auto',
];
export const memoryModes: readonly MemoryMode[] = ['bind', 'preferred', 'interleave', 'none'];

const fields: Readonly<Record<keyof Placement, Check>> = {
  mode: oneOf(...bindingModes),
  cpus: [isCpuMap, 'CPU lists by local rank'],
  memory: oneOf(...memoryModes),
  fallback: flag,
  reserveCores: [value => isWhole(value, 0, maxListed), `a whole number from 0 to ${maxListed}`],
  threadsPerCore: [value => isWhole(value, 1, 8), 'a whole number from 1 to 8'],
  ompPlaces: flag,
};

export const placementChecks: Readonly<Record<keyof PlacementOptions, Check>> = {
  placement: fieldsOf(
    fields,
    `{ mode?: ${bindingModes.join(' | ')}, cpus?: lists by local rank in place of mode, ` +
      `memory?: ${memoryModes.join(' | ')}, reserveCores?, threadsPerCore?: numbers, not with cpus, ` +
      'fallback?, ompPlaces?: true or false }',
    ({ cpus, mode, reserveCores, threadsPerCore }) =>
      cpus === undefined || [mode, reserveCores, threadsPerCore].every(each => each === undefined),
  ),
  gpuPerRank: flag,
};

function isCpuMap(value: unknown): boolean {
  return (
    isRecord(value) &&
    Object.entries(value).every(
      ([rank, list]) =>
        /^\d{1,6}$/.test(rank) && typeof list === 'string' && (parseList(list)?.length ?? 0) > 0,
    )
  );
}
