import type { NativeGpus } from '../native/gpu.js';

/** What counting devices needs of the machine; tests pass trees of their own. */
export interface DeviceSource {
  /** A file's text; nothing if it can't be read. */
  read(path: string): string | undefined;
  /** A folder's entries; none if it can't be read. */
  list(path: string): readonly string[];
}

/** What reading the machine needs of it; tests pass machines of their own. */
export interface TopologySource extends DeviceSource {
  /** A path without symbolic links; the path itself if it doesn't exist. */
  resolve(path: string): string;
  /** What NVIDIA's library told, where somebody has asked it. */
  readonly nvml?: NativeGpus | undefined;
}
