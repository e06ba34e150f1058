import type { DoorEvent } from './events/doors.js';
import type { GpuHolder } from './events/gpus.js';
import type { NodesEvent } from './events/nodes.js';
import type { ObservedEvent } from './events/observed.js';
import type { RestartedEvent, RestartSummary, StoreUsedEvent } from './events/restarts.js';
import type { StandbyEvent } from './events/standbys.js';
import type { StopsEvent } from './events/stops.js';
import type { TimersEvent } from './events/timers.js';
import type { HookName } from './options/hooks.js';
import type { SchedulerSource } from './options/scheduler/allotment.js';

export type { GpuHolder };

/** The public words for what happens to a run. */

/** How a worker ended. A signal without a name (a real-time one) is given as `SIG<number>`. */
export type WorkerExit =
  | { readonly how: 'exited'; readonly code: number }
  | {
      readonly how: 'signaled';
      readonly signal: string;
      readonly signalNumber: number;
      readonly coreDumped: boolean;
    }
  /** Somebody else in this process took the status, e.g. by waitpid(-1). */
  | { readonly how: 'unknown' };

/** One worker's numbers, valid within one round. */
export interface WorkerIdentity {
  readonly rank: number;
  readonly localRank: number;
  readonly pid: number;
}

/** A worker that didn't end with 0: plain JSON. */
export interface WorkerFailure {
  readonly rank: number;
  readonly localRank: number;
  readonly pid: number;
  readonly exit: WorkerExit;
  /** Exit code as Python has it: 0…255, or the negative number of the signal. */
  readonly exitcode: number;
  /**
   * `own`: the worker exited or crashed by itself, or had written its error file when our signal ended it;
   * `stopped-by-us`: it ended by a signal that we sent, because another had failed; `hang`: a hang rule found it,
   * and `message` says which.
   */
  readonly cause: 'own' | 'hang' | 'stopped-by-us';
  /** Whether we had begun to stop the group by then. */
  readonly duringStop: boolean;
  /** It was killed, since it hadn't ended at our signal within its grace period. */
  readonly outlasted?: { readonly signal: string; readonly graceMs: number } | undefined;
  /** Time from the worker's exec to its end. */
  readonly durationMs: number;
  /** What happened, in one or a few lines: the exception, or what its exit tells. */
  readonly message: string;
  /** What the report says behind `traceback :`, indented as it is there. */
  readonly traceback: string;
  /** Unix time in whole seconds: what the error file says, else when we saw the end. */
  readonly timestamp: number;
  /** Name of the node that it ran on. */
  readonly host: string;
  /** NAME (ADDRESS) of that node; absent: it's this one. */
  readonly node?: string;
  /** The message of its error file; absent if it wrote none, or none that could be read. */
  readonly recorded?: string;
  /** The worker's error file; absent if it wrote none. */
  readonly errorFile?: string;
  /** The last lines of its stderr; absent where stderr went to the console only. */
  readonly tail?: string;
  /** That the kernel killed it for lack of memory: `host memory: …`. Absent for all other ends. */
  readonly outOfMemory?: string;
  /** That it wanted more processes than its limit allows. It may have failed of something else. */
  readonly outOfPids?: string;
}

/** What a hang rule looks at. */
export type HangRule = 'silence' | 'expect' | 'value' | 'heartbeat' | 'first-progress';

/** A worker that a hang rule has found. */
export interface Hang {
  readonly worker: WorkerIdentity;
  readonly rule: HangRule;
  /** How long it had been so. */
  readonly forMs: number;
  /** Completes "worker 3 hangs: …". */
  readonly message: string;
}

/** Why no further round is tried. */
export type FailReason =
  | 'no-restarts-left'
  | 'too-many-at-once'
  | 'rule'
  | 'no-requeue'
  | 'first-round'
  | 'no-progress';

/** A worker that SIGKILL didn't end. */
export interface Stuck {
  readonly localRank: number;
  readonly state: string;
  readonly waitChannel: string;
  readonly kernelStack: string;
}

/** The stacks of one worker. */
export interface DumpFile {
  readonly rank: number;
  /** `stacks.txt` of the worker's log folder; absent where logging is off or the disk is full. */
  readonly path?: string;
}

/** A process that a worker has started, and that has outlived it. */
export interface LeftProcess {
  readonly pid: number;
  /** /proc/PID/comm, 15 bytes at most; empty where it can't be read. */
  readonly command: string;
}

/**
 * Why workers are stopped. With several nodes also `peer-failure`: another node's workers have failed; `peer-lost`:
 * another node is gone; `membership`: one has come, or is about to go; `fenced`: this node couldn't prove in time that it
 * takes part.
 */
export type StopReason =
  | 'failure'
  | 'hang'
  | 'signal'
  | 'caller'
  | 'preempt'
  | 'peer-failure'
  | 'peer-lost'
  | 'membership'
  | 'ordered'
  | 'fenced';

/** Who told that this machine will soon be taken away. */
export type PreemptionSource = 'signal' | 'caller' | 'file' | 'url';

/**
 * What happens to a run, in order. Times are milliseconds of CLOCK_MONOTONIC (`atMs`), so that
 * they can be compared with each other and with nothing else.
 */
export type AgentEvent =
  | {
      readonly event: 'round-started';
      readonly round: number;
      readonly restartCount: number;
      readonly masterAddr: string;
      readonly masterPort: number;
      /** This node's place among the round's. */
      readonly groupRank: number;
      readonly groupWorldSize: number;
      /** Workers on all nodes. */
      readonly worldSize: number;
      readonly workers: readonly WorkerIdentity[];
      /** From when this node was ready for a round to when it was given this one. */
      readonly rendezvousMs: number;
      readonly atMs: number;
    }
  /**
   * A worker is failing: it won't run its own code again, and the others are told to stop. Its memory
   * is still being freed; `worker-exited` follows when it's gone. Many failures come without this.
   */
  | {
      readonly event: 'worker-dying';
      readonly worker: WorkerIdentity;
      readonly exit: WorkerExit;
      /** Time from the worker's exec to this notice. */
      readonly durationMs: number;
      /** Whether we had begun to stop the group by then. */
      readonly duringStop: boolean;
      readonly atMs: number;
    }
  | {
      readonly event: 'worker-exited';
      readonly worker: WorkerIdentity;
      readonly exit: WorkerExit;
      /** Time from the worker's exec to its end. */
      readonly durationMs: number;
      /** Whether we had begun to stop the group by then. */
      readonly duringStop: boolean;
      /** Whether that ended it, a hang rule did, or something else. */
      readonly cause: 'own' | 'hang' | 'stopped-by-us';
      readonly atMs: number;
    }
  | {
      readonly event: 'stopping';
      readonly reason: StopReason;
      readonly signal: string;
      readonly graceMs: number;
      readonly atMs: number;
    }
  /** A notice of preemption has come: no failure costs a restart any more, and no round follows. */
  | {
      readonly event: 'preempting';
      readonly by: PreemptionSource;
      /** `nobody` where there are no workers, or where they are being stopped already. */
      readonly reaches: 'workers' | 'nobody';
      /** What the workers got, if anything. */
      readonly signal?: string;
      /** Time from now to SIGTERM, if there's a limit. */
      readonly limitMs?: number;
      readonly atMs: number;
    }
  /** A failure that another round follows. */
  | {
      readonly event: 'restarting';
      /** The root cause. */
      readonly failure: WorkerFailure;
      /** Failures in the order of a failed run's. */
      readonly failures: readonly WorkerFailure[];
      readonly restartsLeft: number;
      /** Infinity where a window is the only limit. */
      readonly maxRestarts: number;
      /** Time until the next round starts. */
      readonly delayMs: number;
      /** The rule that decided, as `3=restart`. */
      readonly rule?: string;
      /** Restarts that `restartWindow` still allows at this moment. */
      readonly windowLeft?: number;
      readonly atMs: number;
    }
  | StoreUsedEvent
  /** Told when it's known how long a restart took. */
  | RestartedEvent
  /** What all restarts have cost. The last event but `ended`; only where there was a restart. */
  | ({ readonly event: 'restart-summary'; readonly atMs: number } & RestartSummary)
  /** With several nodes: failures on another one, the root cause first, that the round has ended for and another follows. */
  | {
      readonly event: 'peer-failed';
      readonly round: number;
      readonly failures: readonly WorkerFailure[];
      readonly atMs: number;
    }
  /** With several nodes: where they meet, what they tell of each other, and what this one waits for and can't reach of others. */
  | NodesEvent
  | ObservedEvent
  /** Options about nodes are from a scheduler's variables. The first event of a run. */
  | ({ readonly event: 'scheduler-read'; readonly atMs: number } & SchedulerSource)
  /** A hang rule has found a worker. Told again only after the worker has moved. */
  | {
      readonly event: 'hung';
      readonly hang: Hang;
      readonly action: 'notify' | 'dump' | 'restart';
      readonly atMs: number;
    }
  /** Stacks of all workers of the node; those of a rank are missing if nothing could be read in time. */
  | {
      readonly event: 'dumped';
      readonly files: readonly DumpFile[];
      /** Where they wait: `ranks 0-6 in all_reduce (distributed_c10d.py:3007), rank 7 in __next__ (dataloader.py:732)`. */
      readonly summary: string;
      /** Who keeps the others waiting, as far as stacks and rules tell. */
      readonly culprit?: WorkerIdentity;
      /** Why it's that one: `it's in __next__ (dataloader.py:732) while 7 ranks wait in a collective`. */
      readonly because?: string;
      /** Python's frames are missing, and py-spy on the workers' PATH would give them. */
      readonly lacksPySpy: boolean;
      readonly atMs: number;
    }
  | StandbyEvent
  | StopsEvent
  | TimersEvent
  | DoorEvent
  /** A log file can't be seen, so that hang rules about output take it for unknown, not for silent, until it can. Told once. */
  | {
      readonly event: 'hang-rules-blind';
      readonly worker: WorkerIdentity;
      readonly path: string;
      /** Completes "PATH …". */
      readonly reason: string;
      readonly atMs: number;
    }
  /** A worker that SIGKILL didn't end: it's stuck in the kernel. */
  | {
      readonly event: 'worker-stuck';
      readonly worker: WorkerIdentity;
      /** One letter of /proc/PID/stat, as `D`. */
      readonly state: string;
      /** The kernel's function that it sleeps in; empty where it can't be read. */
      readonly waitChannel: string;
      /** Lines of /proc/PID/task/TID/stack of its threads in state D; empty without CAP_SYS_ADMIN. */
      readonly kernelStack: string;
      readonly atMs: number;
    }
  /**
   * A GPU isn't free after a round: a process of ours holds it in spite of all, or, after a round that
   * hasn't succeeded, another's; of those each is told once.
   */
  | { readonly event: 'gpu-held'; readonly holders: readonly GpuHolder[]; readonly atMs: number }
  /** Processes that the workers left behind, and that didn't end before they were told to. */
  | {
      readonly event: 'strays-killed';
      readonly count: number;
      readonly processes: readonly LeftProcess[];
      readonly atMs: number;
    }
  /** Processes that the workers left behind, and that live on: by `leaveDetached`, or REGROUP_LEAVE. */
  | {
      readonly event: 'strays-left';
      readonly processes: readonly LeftProcess[];
      readonly atMs: number;
    }
  /**
   * Output could not be written as asked (disk full, console gone); the workers go on. `ETIMEDOUT`: the file takes
   * nothing, so that its worker waits when it has much to say, or that its last lines are lost.
   */
  | {
      readonly event: 'output-trouble';
      readonly worker: WorkerIdentity;
      readonly path: string;
      readonly code: string;
      readonly droppedLines: number;
      readonly atMs: number;
    }
  /** A line that a hook has written, on either stream. A slow reader may lose some. */
  | {
      readonly event: 'hook-output';
      readonly hook: HookName;
      readonly line: string;
      readonly atMs: number;
    }
  /** A hook before a stop or after a round ended with another code than 0, or took too long. */
  | {
      readonly event: 'hook-failed';
      readonly hook: HookName;
      readonly round: number;
      readonly reason: string;
      readonly atMs: number;
    }
  /** Should this process be killed, only the workers themselves go with it, not what they started. */
  | { readonly event: 'unguarded'; readonly reason: string; readonly atMs: number }
  /**
   * Workers are in no cgroup of their own: what leaves its worker's session and clears its environment isn't
   * found. Common, where none is delegated.
   */
  | { readonly event: 'ungrouped'; readonly reason: string; readonly atMs: number }
  /** A worker, or all, run without a binding that was asked for: whose, which and why. */
  | { readonly event: 'placement-trouble'; readonly reason: string; readonly atMs: number }
  /** The store closed or refused a client: which, and why. Ten a second at most. */
  | { readonly event: 'store-trouble'; readonly line: string; readonly atMs: number }
  /**
   * A worker keeps connecting to an address of this machine where nobody listens. PyTorch up to 2.14 does so for
   * minutes if rank 0 is to serve a store of the script's own there (`init_method='tcp://…'`): it takes any port for the
   * agent's. `agentStore: 'off'` mends that. Told once for each address, where the kernel tells of it.
   */
  | {
      readonly event: 'connect-refused';
      readonly worker: WorkerIdentity;
      readonly address: string;
      readonly atMs: number;
    }
  /** The root cause could not be copied to where `errorFile` wants it; the result stays as it is. */
  | { readonly event: 'error-file-trouble'; readonly reason: string; readonly atMs: number }
  | {
      readonly event: 'ended';
      readonly outcome: 'succeeded' | 'failed' | 'stopped' | 'preempted';
      readonly atMs: number;
    };

/** How a run ended. `restarts` is absent where no round has followed another one. */
export type RunResult = Outcome & { readonly restarts?: RestartSummary };

type Outcome =
  | { readonly outcome: 'succeeded' }
  | {
      readonly outcome: 'failed';
      readonly rootCause: WorkerFailure;
      /**
       * Of the last round: the root cause, then those before the group's stop in the order in which they were
       * heard of, then the others by local rank. With several nodes those of all that have told theirs in time, and all
       * but the root cause by their ranks.
       */
      readonly failures: readonly WorkerFailure[];
      /** Why no further round was tried; `node-unfit`: a worker is stuck in the kernel. */
      readonly because: FailReason | 'node-unfit';
      /** The rule that decided, as `3=fail`. */
      readonly rule?: string;
    }
  /** After a notice of preemption not all workers ended with 0. If they did, the run succeeded. */
  | {
      readonly outcome: 'preempted';
      /** Failures in the order of a failed run's. */
      readonly failures: readonly WorkerFailure[];
      /** A worker is stuck in the kernel: this node needs a look. */
      readonly nodeUnfit?: true;
    }
  | {
      readonly outcome: 'stopped';
      readonly by: 'signal' | 'caller';
      /** The signal that was forwarded, e.g. `SIGTERM`. */
      readonly signal: string;
      readonly nodeUnfit?: true;
    };
