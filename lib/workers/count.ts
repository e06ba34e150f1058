import { launchError, valueError } from '../errors.js';
import type { DeviceSource } from '../machine/source.js';

/**
 * How many workers a word or number of `nprocPerNode` means here.
 *
 * @throws ERR_NPROC, ERR_NO_DEVICES, ERR_OPTION
 * @source pytorch v2.13.0, torch/distributed/run.py, determine_local_world_size
 */
export function localWorldSizeOf(
  word: number | string,
  env: Readonly<Record<string, string | undefined>>,
  source: DeviceSource,
): number {
  if (typeof word === 'number') {
    if (!Number.isSafeInteger(word) || word < 1) {
      throw valueError('nprocPerNode', word, 'a whole number from 1');
    }
    return word;
  }

  switch (word) {
    case 'cpu':
      return countCpus(source);
    case 'gpu': {
      const gpus = countGpus(env, source);
      if (gpus === 0) throw launchError('ERR_NO_DEVICES', ['Cuda']);
      return gpus;
    }
    case 'xpu':
      throw launchError('ERR_NO_DEVICES', ['Xpu']);
    case 'auto':
      return countGpus(env, source) || countCpus(source);
    default:
      throw launchError('ERR_NPROC', [word]);
  }
}

/**
 * CPUs that this process may use: its affinity mask, which a cgroup's cpuset narrows too. CPU
 * quotas don't count, as in torchrun.
 */
export function countCpus(source: DeviceSource): number {
  const status = source.read('/proc/self/status') ?? '';
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '0';
  return list.split(',').reduce((count, range) => {
    const [first, last = first] = range.split('-');
    return count + Number(last) - Number(first) + 1;
  }, 0);
}

/**
 * CUDA devices that a worker will see, without initialising CUDA here: that would take memory on
 * each of them.
 *
 * @source pytorch v2.13.0, torch/cuda/__init__.py, _parse_visible_devices and _device_count_nvml;
 *   CUDA C++ Programming Guide, CUDA_VISIBLE_DEVICES: what follows an invalid entry is invisible
 */
export function countGpus(
  env: Readonly<Record<string, string | undefined>>,
  source: DeviceSource,
): number {
  const uuids = gpuUuids(source);
  const nodes = source.list('/dev').filter(name => /^nvidia\d+$/.test(name)).length;
  // A container may see all of /proc's and only some of /dev's, or have no such folder in /proc.
  const present = uuids.length > 0 && nodes > 0 ? Math.min(uuids.length, nodes) : nodes;
  const visible = env.CUDA_VISIBLE_DEVICES;
  if (visible === undefined || present === 0) return present;
  return countVisible(visible, present, uuids);
}

/**
 * How many of `present` devices a value of CUDA_VISIBLE_DEVICES leaves.
 *
 * @param uuids `GPU-…` of each, where known
 */
export function countVisible(visible: string, present: number, uuids: readonly string[]): number {
  const entries = visible.split(',').map(entry => entry.trim());
  // A process sees one MIG instance, however many are named.
  if (visible.startsWith('MIG-')) return 1;
  if (visible.startsWith('GPU-')) {
    return countUntilInvalid(entries, entry => uuidIndex(entry, uuids), present);
  }
  return countUntilInvalid(entries, ordinal, present);
}

/** A device named twice makes all of them invisible. */
function countUntilInvalid(
  entries: readonly string[],
  deviceOf: (entry: string) => number | string | undefined,
  present: number,
): number {
  const seen = new Set<number | string>();
  for (const entry of entries) {
    const device = deviceOf(entry);
    if (device === undefined || (typeof device === 'number' && device >= present)) break;
    if (seen.has(device)) return 0;
    seen.add(device);
  }
  return Math.min(seen.size, present);
}

/** The digits that it begins with, as strtoul reads them: `1gpu` is device 1. */
function ordinal(entry: string): number | undefined {
  const digits = /^\+?(\d+)/.exec(entry)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A prefix is enough if it fits one device only. Where no UUID can be read, the entry is believed. */
function uuidIndex(entry: string, uuids: readonly string[]): number | string | undefined {
  if (!entry.startsWith('GPU-')) return undefined;
  if (uuids.length === 0 || uuids.includes('')) return entry;

  const fitting = uuids.flatMap((uuid, index) => (uuid.startsWith(entry) ? [index] : []));
  return fitting.length === 1 ? fitting[0] : undefined;
}

function gpuUuids(source: DeviceSource): string[] {
  const folder = '/proc/driver/nvidia/gpus';
  return source.list(folder).map(address => {
    const information = source.read(`${folder}/${address}/information`) ?? '';
    return /^GPU UUID:\s*(\S+)/m.exec(information)?.[1] ?? '';
  });
}
