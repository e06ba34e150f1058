import { launchError } from '../errors.js';
import type { Gpu } from '../gpu/visible.js';
import { coresOf } from '../machine/cut.js';
import type { Topology } from '../machine/topology.js';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Variables that choose devices, those first that are looked at last: a HIP device is counted among
 * those that ROCr leaves.
 *
 * @source CUDA C++ Programming Guide, CUDA_VISIBLE_DEVICES; ROCm documentation, GPU isolation
 *   techniques; Level Zero specification, ZE_AFFINITY_MASK
 */
const visibility = [
  'CUDA_VISIBLE_DEVICES',
  'HIP_VISIBLE_DEVICES',
  'ROCR_VISIBLE_DEVICES',
  'ZE_AFFINITY_MASK',
] as const;

/**
 * The one device of a local rank: its entry of the list that's inherited, word for word, else the
 * UUID of its GPU, else its number.
 *
 * @throws ERR_VISIBLE_DEVICES
 */
export function ownDevice(
  inherited: Env,
  localRank: number,
  gpus: readonly (Gpu | undefined)[],
): Readonly<Record<string, string>> {
  for (const name of visibility) {
    const list = inherited[name];
    if (list === undefined) continue;
    const entry = list.split(',')[localRank]?.trim();
    if (!entry) throw launchError('ERR_VISIBLE_DEVICES', [localRank, `${name}=${list}`]);
    return { [name]: entry };
  }

  if (gpus.length > 0 && localRank >= gpus.length) {
    throw launchError('ERR_VISIBLE_DEVICES', [localRank, `this machine, which has ${gpus.length}`]);
  }
  const gpu = gpus[localRank];
  // By number, as parts of one GPU may share its UUID.
  if (gpu?.shownBy !== undefined) return { [gpu.shownBy]: String(localRank) };
  return { CUDA_VISIBLE_DEVICES: gpu?.uuid || String(localRank) };
}

/**
 * One place for each core of a worker, and as many threads unless somebody said how many.
 *
 * @source OpenMP 5.2, §21.1.6, OMP_PLACES
 */
export function ompEnv(
  topology: Topology,
  cpus: readonly number[],
  inherited: Env,
): Readonly<Record<string, string>> {
  const places = coresOf(topology, cpus).map(threads => `{${threads.join(',')}}`);
  return {
    OMP_PLACES: places.join(','),
    ...(inherited.OMP_NUM_THREADS === undefined ? { OMP_NUM_THREADS: String(places.length) } : {}),
  };
}
