/** A GPU of this machine, in PCI order. */
export interface Gpu {
  /** `GPU-…`; empty where it can't be read. */
  readonly uuid: string;
  /** As sysfs has it: `0000:3b:00.0`. */
  readonly pci: string;
}

/**
 * The GPUs that a worker's CUDA devices 0, 1, … are. What follows the first invalid entry is
 * invisible, and a GPU that's named twice makes all of them so.
 *
 * @param visible CUDA_VISIBLE_DEVICES; absent: all
 * @returns undefined in place of a device that's visible without our knowing which it is: a MIG
 *   instance that is named by its own UUID
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

  const byUuid = entries[0]?.startsWith('GPU-') ?? false;
  const seen: Gpu[] = [];
  for (const entry of entries) {
    const gpu = byUuid ? byPrefix(entry, gpus) : byOrdinal(entry, gpus);
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
  return uuid === undefined ? undefined : gpus.find(gpu => gpu.uuid === uuid);
}
