/** What the supervisor tells; native/addon/events.cc makes it. */

export type NativeExit =
  | { readonly how: 'exited'; readonly code: number }
  | { readonly how: 'signaled'; readonly signal: number; readonly coreDumped: boolean }
  /** Somebody else in this process took the status (waitpid(-1), SIGCHLD ignored). */
  | { readonly how: 'unknown' };

/** The step of a start that failed, as native/core/spawn/steps.h has them and in that order. */
export type NativeStep =
  | 'resolve'
  | 'output'
  | 'spawn'
  | 'session'
  | 'parent-death'
  /** A limit that a cgroup has to keep: `memoryHigh`, `memoryMax`, `pidsMax`, `cpuQuotaUs`. */
  | 'cgroup'
  | 'affinity'
  | 'memory'
  | 'stdio'
  | 'signals'
  | 'umask'
  | 'nice'
  | 'ionice'
  | 'oom-score-adj'
  | 'rlimits'
  | 'cwd'
  | 'exec'
  /** SIGKILLed before execve, without a word: the OOM killer, or a killed cgroup. */
  | 'killed-before-exec';

/** A worker whose CPUs or memory policy the kernel refused. */
export interface NativeUnbound {
  readonly index: number;
  readonly step: 'affinity' | 'memory';
  readonly syscall: string;
  readonly errno: number;
}

/**
 * What the kernel has counted for a worker and all that it started; for those with limits of a cgroup that haven't
 * ended well.
 */
export interface NativeUsage {
  /** Its processes that were killed for lack of memory, its own or everybody's. */
  readonly oomKills: number;
  /** Processes and threads that `pidsMax` has refused. */
  readonly pidsRefused: number;
  /** The most memory that it ever had. Absent without a limit of memory, and before Linux 5.19. */
  readonly peakBytes?: number;
  /** Share of the last ten seconds in which some of it waited for memory, in percent. */
  readonly pressure?: number;
}

/** A worker that SIGKILL didn't end within `killWaitMs`. */
export interface NativeStuck {
  readonly index: number;
  readonly pid: number;
  /** One letter of /proc/PID/status, e.g. `D`. */
  readonly state: string;
}

export interface NativeProcess {
  readonly pid: number;
  /** /proc/PID/comm, 15 bytes at most; empty where it can't be read. */
  readonly command: string;
}

export interface NativeTail {
  readonly index: number;
  /** The last bytes of a piped stream; absent where the stream wasn't piped. */
  readonly stdout?: Buffer;
  readonly stderr?: Buffer;
}

/** `atMs`: CLOCK_MONOTONIC in milliseconds, with fractions, as performance-critical code sees it. */
export type NativeEvent =
  /** Every worker has exec'd. `pids[i]` and `startedAtMs[i]` belong to `plans[i]`. */
  | {
      readonly event: 'started';
      readonly group: number;
      readonly atMs: number;
      readonly pids: readonly number[];
      readonly startedAtMs: readonly number[];
      /** Workers that run without a binding, since it was optional. */
      readonly unbound: readonly NativeUnbound[];
    }
  /** None is left. `detail` is the path, or the resource limit, that the step was about, if any. */
  | {
      readonly event: 'start-failed';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly step: NativeStep;
      readonly syscall: string;
      readonly errno: number;
      readonly detail: string;
    }
  /**
   * The start of a worker holds up the supervisor, a stop wasn't heard in its time, and SIGKILL to the child hasn't
   * helped. The last event of all: the supervisor can only be closed, which doesn't wait for it.
   */
  | {
      readonly event: 'start-hangs';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly step: NativeStep;
      /** The file that the step is about. */
      readonly detail: string;
      /** Of the child that's stuck in the kernel; 0: there's none. */
      readonly pid: number;
    }
  /**
   * A worker is ending with a failure: it won't run its own code again, but its memory is still being
   * freed, and its pid is still its own. `exited` follows, with the same exit. At most once a worker,
   * and many end without: see `earlyLibrary`.
   */
  | {
      readonly event: 'dying';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly pid: number;
      readonly exit: NativeExit;
    }
  /** A worker was reaped. In the order in which the core saw it. */
  | {
      readonly event: 'exited';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly pid: number;
      readonly exit: NativeExit;
      readonly usage?: NativeUsage;
    }
  /** What a standby has sent, without its length; but not the `started` by which it becomes a worker of the round. */
  | {
      readonly event: 'standby-said';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly message: Buffer;
    }
  /** `takeOver` came too late: the standbys aren't there any more, or are being stopped. */
  | { readonly event: 'not-taken'; readonly group: number; readonly atMs: number }
  /**
   * The last event of a group: every worker is reaped or stuck, whatever they left behind has ended, their output is in
   * its files, or was given up. A console may still have to get the rest from there. Comes once for each group that had
   * `started`.
   */
  | {
      readonly event: 'ended';
      readonly group: number;
      readonly atMs: number;
      readonly stuck: readonly NativeStuck[];
      /** Processes of the group, other than workers, that had to be signalled. */
      readonly strays: readonly NativeProcess[];
      /** Those that were left alone. */
      readonly left: readonly NativeProcess[];
      readonly tails: readonly NativeTail[];
    }
  /**
   * Trouble with output that the worker mustn't notice: ENOSPC, a closed console, lines dropped. ETIMEDOUT: the file
   * takes nothing, so that its worker waits, or its last lines are lost.
   */
  | {
      readonly event: 'output-trouble';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly path: string;
      readonly syscall: string;
      readonly errno: number;
      readonly droppedLines: number;
    }
  /** No cgroup could be made at `path`, or, if that's empty, there's no hierarchy. Told once, with the first group. */
  | {
      readonly event: 'ungrouped';
      readonly group: number;
      readonly atMs: number;
      readonly path: string;
      readonly syscall: string;
      readonly errno: number;
    }
  /** The fence has passed, and every worker was killed. Once, until it's moved. */
  | { readonly event: 'fenced'; readonly atMs: number }
  /** The guardian couldn't be started. Told once, with the first group. */
  | {
      readonly event: 'unguarded';
      readonly group: number;
      readonly atMs: number;
      readonly syscall: string;
      readonly errno: number;
    };
