import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { lacksNvml } from '../gpu/present.js';
import { native } from '../native/addon.js';
import type { NativeGpus } from '../native/gpu.js';
import type { TopologySource } from './source.js';

/** A driver that's asleep takes a second or two for each GPU. */
const nvmlLimitMs = 5000;

let nvml: NativeGpus | undefined;
let asking: Promise<NativeGpus> | undefined;

/**
 * Asks NVIDIA's library, once, where nothing else tells which GPU a worker sees: for MIG devices that
 * are named by UUID. Without its answer such a GPU is one that we don't know.
 *
 * @param env the workers'
 * @throws ERR_NATIVE_MISSING
 */
export async function learnGpus(env: Readonly<Record<string, string | undefined>>): Promise<void> {
  if (!lacksNvml(env, thisMachine)) return;
  asking ??= native().gpus(nvmlLimitMs);
  try {
    nvml = await asking;
  } finally {
    asking = undefined;
  }
}

/** What decides where workers run, read from where it really is. */
export const thisMachine: TopologySource = {
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // Absence is an answer here: no such driver, no such device.
      return undefined;
    }
  },
  list(path) {
    try {
      return readdirSync(path);
    } catch {
      // As above.
      return [];
    }
  },
  resolve(path) {
    try {
      return realpathSync.native(path);
    } catch {
      // As above.
      return path;
    }
  },
  get nvml() {
    return nvml;
  },
};
