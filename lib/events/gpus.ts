/** A process that has a GPU's device file open, or memory of a GPU. */
export interface GpuHolder {
  readonly pid: number;
  /** /proc/PID/comm; absent where the process is gone, and only the driver still knows it. */
  readonly command?: string;
  /** User whose process it is. */
  readonly uid?: number;
  /** Below /dev: `nvidia0`, `kfd`, `dri/renderD128`. */
  readonly devices: readonly string[];
  /** Memory of all these GPUs together, in bytes, as NVIDIA's driver tells it. */
  readonly usedBytes?: number;
  /** Whether it's a process of the round that has ended. */
  readonly isOurs: boolean;
}
