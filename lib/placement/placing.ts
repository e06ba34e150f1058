import { lacksNvml, workerGpus } from '../gpu/present.js';
import type { TopologySource } from '../machine/source.js';
import type { PlacementOptions } from '../options/machine/placement.js';
import { ownDevice } from './env.js';
import { type Placed, place } from './place.js';

/** Where one node's workers run, the same in every round. */
export interface Placing {
  /** Bindings of the workers; absent: nobody asked for any. */
  readonly placed: Placed | undefined;
  /** What each worker's placement adds to its environment, by local rank; empty: nothing. */
  readonly env: readonly Readonly<Record<string, string>>[];
}

/** Workers that are to be placed, and the machine that they run on. */
export interface ToPlace {
  readonly localWorldSize: number;
  /** What workers inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly devices: TopologySource;
}

/**
 * Whether where workers run isn't known before NVIDIA's library has been asked for their GPUs. `gpuPerRank` alone takes
 * no asking: it narrows the list that names them.
 */
export function awaitsGpus({ placement }: PlacementOptions, { env, devices }: ToPlace): boolean {
  return placement !== undefined && placement.cpus === undefined && lacksNvml(env, devices);
}

/** @throws ERR_PLACEMENT, ERR_VISIBLE_DEVICES */
export function placingOf(
  { placement, gpuPerRank }: PlacementOptions,
  { localWorldSize, env, devices }: ToPlace,
): Placing {
  const placed = placement && place(placement, localWorldSize, env, devices);
  if (!gpuPerRank && !placed?.env.length) return { placed, env: [] };
  const gpus = gpuPerRank ? workerGpus(env, devices) : [];
  return {
    placed,
    env: Array.from({ length: localWorldSize }, (_, localRank) => ({
      ...placed?.env[localRank],
      ...(gpuPerRank ? ownDevice(env, localRank, gpus) : {}),
    })),
  };
}
