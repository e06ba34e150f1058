import type { AgentEvent, RunResult } from '../events.js';
import type { NativeStoreSlot, NativeStoreStats } from '../native/store.js';

/** How a run has ended: by its result, or by what kept the agent from its job. */
export type RunEnding = { readonly result: RunResult } | { readonly error: unknown };

/** What no event tells of a run, at this moment. */
export interface Measures {
  /** Of the present round's store; absent where this agent doesn't serve one. */
  readonly store?: NativeStoreStats | undefined;
  /** Since the last renewal of this node's lease that was confirmed; absent where it has none at our own server. */
  readonly leaseAgeMs?: number | undefined;
  /** What clients of the present round's shared memory have told; none where this agent doesn't serve its store. */
  readonly slots?: readonly NativeStoreSlot[] | undefined;
}

/** Keeps a record of a run beside whoever has launched it. */
export interface Recorder {
  /** Takes each event, in order, and neither throws nor waits. */
  event(event: AgentEvent): void;
  /** Resolves when all is recorded, or can't be: within seconds. Never rejects. */
  ended(ending: RunEnding): Promise<void>;
}

/** Words around a record: where and when. */
interface RecordHead {
  /** When it happened, by the clock on the wall: `2026-11-30T22:17:58.968Z`. */
  readonly time: string;
  /** Name of this node. */
  readonly node: string;
  readonly runId: string;
}

/** The last record of a file: how the run ended, and how complete the file is. */
export interface LogEnded {
  readonly event: 'log-ended';
  /** Records before this one that the file has taken. */
  readonly records: number;
  /** Records that it has not. */
  readonly lostRecords: number;
  /** As `run.result` gives it; absent: the agent has failed. */
  readonly result?: RunResult;
  readonly error?: {
    /** As `ERR_PORT`; absent: it's none of regroup's. */
    readonly code?: string;
    readonly message: string;
  };
}

/** A line of the file that `events` names, as JSON. A number that isn't finite is null. */
export type EventRecord = RecordHead & (AgentEvent | LogEnded);
