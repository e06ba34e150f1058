import type { StopsEvent } from '../../events/stops.js';
import type {
  AgentEvent,
  Hang,
  LeftProcess,
  PreemptionSource,
  RunResult,
  StopReason,
  Stuck,
  WorkerExit,
  WorkerFailure,
  WorkerIdentity,
} from '../../events.js';
import type { GroupEnd } from '../../failures/describe.js';
import type { SeenExit } from '../../failures/failure.js';
import type { HookName } from '../../options/hooks.js';
import type { GraceReason } from '../../options/stopping.js';
import type {
  FailureReport,
  FormedRound,
  LastVerdict,
  RendezvousEvent,
  RoundPlan,
} from '../../rendezvous/rendezvous.js';

/** The words of `step`: what the agent knows, what happens to it, what it then does. */

export interface Policy {
  /** Time from the stop signal to SIGKILL, for reasons that have none of their own. */
  readonly graceMs: number;
  readonly graceByReasonMs?: Readonly<Partial<Record<GraceReason, number>>>;
  /** What workers get with a notice of preemption. */
  readonly preemptSignal?: string;
  /** Time from the notice to SIGTERM. */
  readonly preemptLimitMs?: number;
  /** Whether there are hang rules, or timers of the workers. */
  readonly watchesForHangs?: boolean;
  /** Whether GPUs are to become free after a round. */
  readonly waitsForGpus?: boolean;
  /** Hooks that the user configured. */
  readonly hooks?: readonly HookName[];
}

/** An end as it was first heard of, by an early notice or by the exit itself. */
export interface Exit extends SeenExit {
  /** Whether the worker is gone, and not only known to be ending. */
  readonly isGone: boolean;
}

export interface Round extends FormedRound {
  readonly policy: Policy;
  /** The group's workers, by local rank. Invariant: empty until all have exec'd, and never after. */
  readonly workers: readonly { readonly identity: WorkerIdentity; readonly startedAtMs: number }[];
  /** Ends in the order in which they were first heard of. Invariant: of `workers`, one for each at most. */
  readonly exits: readonly Exit[];
  /** The job's end, where that was told before this group's. */
  readonly verdict?: LastVerdict;
  /** The notice that came: from then on no failure costs a restart, since none would get far. */
  readonly notice?: Notice;
}

/** This machine will soon be taken away: the first notice. */
export interface Notice {
  readonly by: PreemptionSource;
  readonly atMs: number;
}

/** The user's stop: the first one. */
export interface StopOrder {
  readonly by: 'signal' | 'caller';
  readonly signal: string;
  readonly atMs: number;
  /** Another one came: it's to be over now. */
  readonly hurried?: true;
}

/** Why a group is stopped. */
export interface GroupStop {
  /** Why it began; an order may have come on top of it. */
  readonly reason: StopReason;
  readonly order?: StopOrder;
  /** What was found, where the reason is a hang. */
  readonly hang?: Hang;
  readonly sinceMs: number;
}

/** What was known when a group had ended. */
export interface GroupOver {
  readonly atMs: number;
  readonly isStuck: boolean;
  /** The highest step that a worker has told; 0 if none did. */
  readonly progress: number;
  /** When our first signal went out; absent: none did. */
  readonly signaledAtMs?: number;
}

/** How far the next round is, which is prepared while this one ends. */
export type NextRound = 'none' | 'under-way' | 'ready' | { readonly error: unknown };

export type AgentState =
  | { readonly phase: 'idle'; readonly policy: Policy }
  /**
   * No worker runs. The next round starts when the pauses are over; the last of them is the rendezvous, which tells its
   * numbers.
   */
  | {
      readonly phase: 'joining';
      readonly policy: Policy;
      /** The round before; of the first one, itself. */
      readonly round: number;
      /** Failures of the round before, the root cause first. */
      readonly failures: readonly WorkerFailure[];
      /** The first is under way. Invariant: the last one, and no other, is the rendezvous. */
      readonly pauses: readonly Pause[];
      readonly next: NextRound;
      /** What `next` is about. */
      readonly following?: RoundPlan;
      /** Ends of workers that were stopped for what happened elsewhere, and that nobody has asked for yet. */
      readonly unread?: GroupEnd;
    }
  /** Store, folders and plans of a round are being made. Nothing runs, and there's nobody to stop. */
  | (FormedRound & {
      readonly phase: 'preparing';
      readonly policy: Policy;
      /** Failures of the round before, the root cause first. */
      readonly failures: readonly WorkerFailure[];
    })
  | (Round & { readonly phase: 'starting' })
  | (Round & { readonly phase: 'running' })
  | (Round &
      GroupStop & {
        readonly phase: 'stopping';
        /** When the grace period ends. Invariant: infinite while a hook holds the stop up. */
        readonly killAtMs: number;
        /** When our first signal went out; absent as long as none has. */
        readonly signaledAtMs?: number;
        /** What we sent, by number: deaths by one of these are our doing. Invariant: empty while a hook holds the stop up. */
        readonly sent: readonly number[];
        /** Invariant: `none` once there's an order or a notice; else `following` is what it's about. */
        readonly next: NextRound;
        /**
         * The hook before a stop is under way. Nothing has been sent yet, so no grace period has begun,
         * and deaths are nobody's doing but their own.
         */
        readonly holding?: { readonly signal: string };
      })
  /** No worker is left, and what they have left is being read; then the job decides what follows. */
  | (Round & {
      readonly phase: 'describing';
      /**
       * The root cause first; absent: they're being read. Invariant: only of a group that was stopped for a failure or a
       * hang, or that has succeeded: then there are none, and the others' end is awaited.
       */
      readonly failures?: readonly WorkerFailure[];
      /** How the group was stopped; absent if it ended by itself, on a notice. */
      readonly stop?: GroupStop;
      readonly next: NextRound;
      readonly end: GroupOver;
    })
  /** No round follows. It's known how the run ends, and told when the pause is over. */
  | {
      readonly phase: 'after';
      readonly policy: Policy;
      readonly round: number;
      readonly pauses: readonly Pause[];
      readonly ending: Ending;
      readonly order?: StopOrder;
      /** This node's own failures are being read still. */
      readonly isUnread?: true;
    }
  | { readonly phase: 'ended'; readonly policy: Policy };

/** What must be over before it goes on: a time, a hook, the round's hold on GPUs, or the rendezvous. */
export type Pause =
  /** Ends with `round-formed`, and not with `pause-over`. */
  | { readonly name: 'join' }
  /** Ends with `peers-ended`: what became of the other nodes' workers. The last one, as the job has failed. */
  | { readonly name: 'peers' }
  | { readonly name: 'back-off'; readonly ms: number }
  /** `strangers`: whether processes that aren't the round's are of interest, too. */
  | { readonly name: 'gpus'; readonly round: number; readonly strangers: boolean }
  | HookCall;

/** A hook, and what it's told. */
export interface HookCall {
  readonly name: HookName;
  /** The one that it's about: that starts, is stopped or is over. */
  readonly round: number;
  /** What ended the round, or the one before: `failure`, `hang`, `preempted`, `SIGTERM`, … */
  readonly reason?: string;
  /** The root cause's, as far as it's known. */
  readonly failedRank?: number;
}

export type Happening =
  | { readonly event: 'launch' }
  | RendezvousEvent
  /** What `prepare-round` asked for; with an error, why that round can't be had. */
  | { readonly event: 'prepared'; readonly round: number; readonly error?: unknown }
  /** Every worker has exec'd. */
  | {
      readonly event: 'started';
      readonly round: number;
      readonly atMs: number;
      readonly workers: Round['workers'];
      readonly masterAddr: string;
      readonly masterPort: number;
      /** How long the rendezvous has taken. */
      readonly rendezvousMs: number;
    }
  /** No worker of the round is left, and none ever ran its own code. */
  | { readonly event: 'start-failed'; readonly round: number; readonly error: unknown }
  | {
      readonly event: 'exited';
      readonly round: number;
      readonly atMs: number;
      readonly localRank: number;
      readonly exit: WorkerExit;
    }
  /** A rule has found it, and its stacks are written: the group is to end. */
  | { readonly event: 'hung'; readonly round: number; readonly hang: Hang }
  /**
   * A worker's early notice: it's ending so, and `exited` will tell it when its memory, its ports and
   * its GPU are free. Not every end has one.
   */
  | {
      readonly event: 'dying';
      readonly round: number;
      readonly atMs: number;
      readonly localRank: number;
      readonly exit: WorkerExit;
    }
  /** No worker of the round is left, save for those stuck in the kernel; output is written. */
  | {
      readonly event: 'group-ended';
      readonly round: number;
      readonly atMs: number;
      readonly stuck: readonly Stuck[];
      /** Whom workers had left behind: who had to be signalled, and who was left alone. */
      readonly strays: readonly LeftProcess[];
      readonly left: readonly LeftProcess[];
      /** The highest step that a worker has told; 0 if none did. */
      readonly progress?: number;
    }
  /** What `describe` asked for. */
  | {
      readonly event: 'described';
      readonly round: number;
      /** The root cause first. */
      readonly failures: readonly WorkerFailure[];
      /** Drawn by chance, at least 0 and below 1. */
      readonly chance?: number;
    }
  /** Something failed that a run can't do without, whatever it's doing. */
  | { readonly event: 'broken'; readonly error: unknown }
  | {
      readonly event: 'pause-over';
      readonly round: number;
      readonly pause: Pause['name'];
      /** Why a hook counts as failed, in words that follow its name. */
      readonly problem?: string;
    }
  | { readonly event: 'notice'; readonly by: PreemptionSource }
  /** The time that workers had from the notice on is over. */
  | { readonly event: 'preempt-limit'; readonly round: number }
  /** So much of the grace period that began last. */
  | { readonly event: 'half-grace'; readonly round: number }
  /** A signal for the workers that ends nothing. */
  | { readonly event: 'forward'; readonly signal: string }
  /** `signal` is absent if the caller only wants it to be over. */
  | { readonly event: 'stop'; readonly by: 'signal' | 'caller'; readonly signal?: string };

export type Action =
  /** Store, folders and plans of a round; `prepared` happens then. */
  | { readonly do: 'prepare-round'; readonly plan: RoundPlan }
  /** Such a round won't start, however far it is. */
  | { readonly do: 'discard-round'; readonly plan: RoundPlan }
  /** Starts a round that has been prepared. */
  | { readonly do: 'start-round'; readonly round: number }
  /** Hang rules and timers apply from now on, and no longer. */
  | { readonly do: 'watch-round'; readonly round: number }
  | { readonly do: 'unwatch-round'; readonly round: number }
  | {
      readonly do: 'stop-group';
      readonly round: number;
      readonly signal: string;
      readonly graceMs: number;
    }
  | { readonly do: 'begin-pause'; readonly round: number; readonly pause: Pause }
  /** Ends a pause that's no longer waited for. */
  | { readonly do: 'end-pause'; readonly pause: Pause['name'] }
  /** Sends a signal to every live worker at once; stops nothing. */
  | { readonly do: 'signal-group'; readonly round: number; readonly signal: string }
  /** Sets the word that the round's clients of the store see. */
  | { readonly do: 'set-notice'; readonly round: number; readonly notice: number }
  /** `preempt-limit` happens then. */
  | { readonly do: 'arm-preempt-limit'; readonly round: number; readonly afterMs: number }
  /** Tells of workers that haven't ended yet, and where they sleep. */
  | { readonly do: 'tell-outlasting'; readonly round: number; readonly told: StopsEvent }
  /** The round's workers are gone: its store may go, too. */
  | { readonly do: 'release-round'; readonly round: number }
  /** Describes the round's failures, once; `described` happens then. */
  | ({ readonly do: 'describe'; readonly round: number } & GroupEnd)
  /** Tells the job that some of the round's workers have failed: others stop theirs meanwhile. */
  | { readonly do: 'announce'; readonly round: number }
  /** Tells the job that this node's workers have succeeded. It answers by `verdict`, or by `round-broken`. */
  | { readonly do: 'succeed'; readonly round: number }
  /** Tells the job that this node takes part no more. */
  | { readonly do: 'leave' }
  /** Reports to the job, which answers by `verdict`. */
  | { readonly do: 'report'; readonly report: FailureReport }
  /** Tells the other nodes of a job that has failed what became of this one's workers. They answer by `peers-ended`. */
  | { readonly do: 'conclude'; readonly failures: readonly WorkerFailure[] }
  | { readonly do: 'tell'; readonly event: AgentEvent }
  /** Finishes the run: the last action. */
  | { readonly do: 'finish'; readonly ending: Ending };

type Failed = Extract<RunResult, { outcome: 'failed' }>;

/** How a run ends: its result, but that what failed is looked up by its round, or an error in its place. */
export type Ending =
  | Exclude<RunResult, Failed>
  | (Omit<Failed, 'rootCause'> & { readonly round: number })
  | { readonly outcome: 'error'; readonly error: unknown };

/** What follows from a happening: the state after it, and what to do, in this order. */
export type Step = [AgentState, Action[]];

export type Live = Extract<AgentState, { phase: 'starting' | 'running' | 'stopping' }>;

export type Preparing = Extract<AgentState, { phase: 'preparing' }>;

export type Describing = Extract<AgentState, { phase: 'describing' }>;

export type Joining = Extract<AgentState, { phase: 'joining' }>;

export type After = Extract<AgentState, { phase: 'after' }>;

export type Stopping = Extract<AgentState, { phase: 'stopping' }>;

export type Of<E extends Happening['event']> = Extract<Happening, { event: E }>;
