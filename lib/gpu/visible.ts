/** A GPU of this machine, in PCI order. */
export interface Gpu {
  /** `GPU-…`; empty where it can't be read. */
  readonly uuid: string;
  /** Address as sysfs has it: `0000:3b:00.0`. */
  readonly pci: string;
  /** UUIDs of its MIG devices, `MIG-…`; absent where nobody has asked. */
  readonly instances?: readonly string[];
  /** The GPU's own device file, below /dev: `nvidia0`, `dri/renderD128`; absent where it can't be told. */
  readonly device?: string;
  /** The variable that shows it to a process, by its number. @default 'CUDA_VISIBLE_DEVICES' */
  readonly shownBy?: 'ROCR_VISIBLE_DEVICES' | 'ZE_AFFINITY_MASK';
}

/**
 * The GPUs that a worker's CUDA devices 0, 1, … are. What follows the first invalid entry is
 * invisible, and a GPU that's named twice makes all of them so.
 *
 * @param visible CUDA_VISIBLE_DEVICES; absent: all
 * @returns undefined in place of a device that's visible without our knowing which it is: a MIG
 *   instance that is named by its own UUID, where no GPU's `instances` have it
 * @source CUDA C++ Programming Guide, CUDA_VISIBLE_DEVICES; pytorch v2.13.0, torch/cuda/__init__.py,
 *   _parse_visible_devices
 */
export function visibleGpus(
  visible: string | undefined,
  gpus: readonly Gpu[],
): readonly (Gpu | undefined)[] {
  if (visible === undefined) return gpus;

  const entries = visible.split(',').map(entry => entry.trim());
  // A process sees one MIG instance, however many are named.
  if (entries[0]?.startsWith('MIG-')) return [byMig(entries[0], gpus)];
  return untilInvalid(entries, gpus, entries[0]?.startsWith('GPU-') ?? false);
}

/**
 * The GPUs that a worker's ROCm devices 0, 1, … are: ROCR_VISIBLE_DEVICES chooses among all, and
 * HIP_VISIBLE_DEVICES, or in its absence CUDA_VISIBLE_DEVICES, among those that it leaves.
 *
 * @param gpus in the order of the kernel's nodes
 * @source ROCm documentation, "GPU isolation techniques"; pytorch v2.13.0, torch/cuda/__init__.py,
 *   _parse_visible_devices
 */
export function visibleAmdGpus(
  env: Readonly<Record<string, string | undefined>>,
  gpus: readonly Gpu[],
): readonly Gpu[] {
  const { ROCR_VISIBLE_DEVICES: rocr, HIP_VISIBLE_DEVICES: hip, CUDA_VISIBLE_DEVICES: cuda } = env;
  const left = chosen(rocr, gpus);
  return chosen(hip ?? cuda, left);
}

/**
 * The GPUs that ZE_AFFINITY_MASK leaves, by `GPU` or `GPU.TILE`, in the order of their addresses:
 * the mask chooses, and doesn't reorder. Where a card has several tiles, each a device of its own,
 * a number alone means a tile, and we don't know of which card.
 *
 * @source Level Zero core programming guide, "Affinity Mask"
 */
export function visibleIntelGpus(
  env: Readonly<Record<string, string | undefined>>,
  gpus: readonly Gpu[],
): readonly Gpu[] {
  const mask = env.ZE_AFFINITY_MASK;
  if (mask === undefined || mask === '') return gpus;

  const named = new Set(mask.split(',').map(entry => Number.parseInt(entry, 10)));
  return gpus.filter((_, index) => named.has(index));
}

function chosen(visible: string | undefined, gpus: readonly Gpu[]): readonly Gpu[] {
  if (visible === undefined) return gpus;
  const entries = visible.split(',').map(entry => entry.trim());
  return untilInvalid(entries, gpus, undefined);
}

/** @param byUuid whether all entries are UUIDs, or none; undefined: each is what it looks like */
function untilInvalid(
  entries: readonly string[],
  gpus: readonly Gpu[],
  byUuid: boolean | undefined,
): readonly Gpu[] {
  const seen: Gpu[] = [];
  for (const entry of entries) {
    const gpu =
      (byUuid ?? entry.startsWith('GPU-')) ? byPrefix(entry, gpus) : byOrdinal(entry, gpus);
    if (gpu === undefined) break;
    if (seen.includes(gpu)) return [];
    seen.push(gpu);
  }
  return seen;
}

/** The digits that it begins with, as strtoul reads them. */
function byOrdinal(entry: string, gpus: readonly Gpu[]): Gpu | undefined {
  const digits = /^\+?(\d+)/.exec(entry)?.[1];
  return digits === undefined ? undefined : gpus[Number(digits)];
}

function byPrefix(entry: string, gpus: readonly Gpu[]): Gpu | undefined {
  if (!entry.startsWith('GPU-')) return undefined;
  const fitting = gpus.filter(({ uuid }) => uuid.startsWith(entry));
  return fitting.length === 1 ? fitting[0] : undefined;
}

/** Drivers before 470 name an instance by its GPU: `MIG-GPU-<uuid>/<gpu instance>/<compute instance>`. */
function byMig(entry: string, gpus: readonly Gpu[]): Gpu | undefined {
  const uuid = /^MIG-(GPU-[^/]+)\//.exec(entry)?.[1];
  if (uuid !== undefined) return gpus.find(gpu => gpu.uuid === uuid);

  const fitting = gpus.flatMap(gpu =>
    (gpu.instances ?? []).flatMap(instance => (instance.startsWith(entry) ? [gpu] : [])),
  );
  return fitting.length === 1 ? fitting[0] : undefined;
}
