/** What NVIDIA's driver and open files tell of GPUs. */

/** A process that has memory of a GPU, as the driver tells it. */
export interface NativeGpuProcess {
  readonly pid: number;
  readonly kind: 'compute' | 'graphics';
  /** Absent where the driver doesn't say. */
  readonly usedBytes?: number;
}

/** Why something is missing. */
export interface NativeGpuTrouble {
  /** `timed-out`: the driver hangs; it isn't asked again until it has come back. */
  readonly why: 'no-library' | 'refused' | 'timed-out' | 'no-thread';
  /** The function of NVML. */
  readonly step: string;
  /** nvmlReturn_t for `refused`, an errno for `no-thread`, else 0. */
  readonly code: number;
  readonly text: string;
}

export interface NativeGpu {
  /** In the order of PCI addresses. */
  readonly index: number;
  /** `GPU-…`; empty where it can't be read. */
  readonly uuid: string;
  /** As sysfs has it: `0000:3b:00.0`; empty where it can't be read. */
  readonly pci: string;
  /** Of `/dev/nvidia<minor>`. */
  readonly minor?: number;
  /** MIG devices, `MIG-…`. */
  readonly instances: readonly {
    readonly uuid: string;
    readonly processes: readonly NativeGpuProcess[];
  }[];
  readonly processes: readonly NativeGpuProcess[];
  /** Of this one alone: what it tells may be incomplete. */
  readonly trouble?: NativeGpuTrouble;
}

export interface NativeGpus {
  readonly devices: readonly NativeGpu[];
  /** Then there are no devices. */
  readonly trouble?: NativeGpuTrouble;
}

export interface NativeDeviceHolders {
  readonly holders: readonly {
    readonly pid: number;
    /** Below the folder: `nvidia0`, `kfd`, `dri/renderD128`. */
    readonly devices: readonly string[];
  }[];
  /** Processes whose files we may not see: other users'. */
  readonly unread: readonly number[];
}
