/** What a group of workers is started with; native/addon/convert.cc reads it. */

/** Where one stream (stdout or stderr) of one worker goes. */
export type NativeStream =
  /** Our own descriptor, untouched: a terminal stays a terminal. */
  | { readonly to: 'inherit' }
  | { readonly to: 'null' }
  /** Straight into the file (created, appended to): costs nothing and survives the agent. */
  | { readonly to: 'file'; readonly path: string }
  /** Through the pump. */
  | {
      readonly to: 'pipe';
      /** Gets every byte, as it was written. A file that stands still makes its own worker wait, and nobody else. */
      readonly file?: string;
      /** Gets whole lines, each behind `prefix`; 1 is our stdout, 2 our stderr. */
      readonly console?: 1 | 2;
      readonly prefix?: string;
      /** Lines that contain one of these are also appended, behind `prefix`, to `filteredFile`. */
      readonly filters?: readonly string[];
      readonly filteredFile?: string;
    };

/** All that one worker needs. */
export interface NativePlan {
  /** A path, or a name that's looked up along PATH of `env` as execvp does. */
  readonly file: string;
  /** argv[0] included. */
  readonly argv: readonly string[];
  /** `NAME=value`, the worker's whole environment. */
  readonly env: readonly string[];
  readonly cwd?: string;
  /**
   * Soft limit of open files. One above ours changes nothing. Without it the worker gets ours, as it
   * was before `raiseNofile`, or before Node raised it where `startedWith` was told.
   */
  readonly nofileSoft?: number;
  /** The only CPUs that it may run on. Those that it may not have are cut off; EINVAL if none is left. */
  readonly cpus?: readonly number[];
  readonly memoryPolicy?: NativeMemoryPolicy;
  /** `cpus` that the kernel refuses are told by `started`, which comes all the same. */
  readonly optionalCpus?: boolean;
  /** The same for `memoryPolicy`. */
  readonly optionalMemoryPolicy?: boolean;
  /** In this order, after `nofileSoft`. */
  readonly rlimits?: readonly NativeRlimit[];
  /** -20 to 19. */
  readonly nice?: number;
  /** Class << 13 | level, of ioprio_set(2). */
  readonly ioPriority?: number;
  /** -1000 to 1000. */
  readonly oomScoreAdj?: number;
  readonly umask?: number;
  /** Bytes, from 1, of the worker and all that it starts: beyond, it's slowed down. Cgroups of version 2 only. */
  readonly memoryHigh?: number;
  /** The same: beyond, it's killed. */
  readonly memoryMax?: number;
  /** Processes and threads, from 1, of the worker and all that it starts. */
  readonly pidsMax?: number;
  /** CPU time in each 100 ms, in microseconds from 1000, of the worker and all that it starts. */
  readonly cpuQuotaUs?: number;
  readonly stdin: 'inherit' | 'null';
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
  /** Of a standby: sent to it as it starts. */
  readonly standbyWords?: Buffer;
}

/** What Node has changed of this process at its start. */
export interface NativeStart {
  /** Signals that were ignored, by number. */
  readonly ignoredSignals: readonly number[];
  readonly blockedSignals: readonly number[];
  /** Of open files; absent: it isn't known, or there was no limit. */
  readonly nofileSoft?: number;
}

/** What's absent stays as it is; but a soft limit isn't left above the hard one. */
export interface NativeRlimit {
  /** As prlimit(1) spells it: `nofile`. */
  readonly name: string;
  readonly soft?: number | 'unlimited';
  readonly hard?: number | 'unlimited';
}

/** Where the kernel takes a worker's memory from. set_mempolicy(2) tells the modes. */
export interface NativeMemoryPolicy {
  readonly mode: 'bind' | 'preferred' | 'interleave' | 'local';
  /**
   * None for `local`, and at least one else. `preferred`: before Linux 5.15, which can prefer
   * several, the first alone.
   */
  readonly nodes: readonly number[];
}

export interface NativeGroupPlan {
  /** Names the group in events; unique while the supervisor lives. */
  readonly group: number;
  /**
   * In `env` of every plan too, as `REGROUP_COOKIE=<cookie>`: what's left of the group, wherever
   * it hides, is found by it.
   */
  readonly cookie: string;
  readonly plans: readonly NativePlan[];
  /** Bytes kept of the end of each piped stream, for the failure report. */
  readonly tailBytes: number;
  /** How long a pipe that somebody still holds is read after its worker's end. */
  readonly drainMs: number;
  readonly tidyUp: NativeTidyUp;
  /**
   * Whether these are standbys: each has a socket to us as descriptor 3, and waits for `takeOver`. A stream that's a pipe or
   * a file leads nowhere until then. @default false
   */
  readonly parks?: boolean;
}

/** What may be done with those whom workers leave behind. */
export interface NativeTidyUp {
  /** From the last worker's end to SIGKILL, where not all have ended well. */
  readonly graceMs: number;
  /** Whoever is in a session of its own, and holds no GPU, lives on. */
  readonly leaveDetached: boolean;
  /**
   * Programs that need seconds to end by themselves, and hold nothing that another round needs: they have ten
   * seconds, and nobody waits for them.
   */
  readonly lingering: readonly string[];
  /** Folder of GPUs' device files, without links in its path: who's left alone holds none of these. */
  readonly devices: string;
}
