/** What is said at the control socket of a run: one line of JSON each way; to who follows one for each round. */

export type ControlRequest =
  | { readonly do: 'status' }
  /** A status now, and one whenever a round has started, until the run ends. */
  | { readonly do: 'follow' }
  /** As SIGTERM would. */
  | { readonly do: 'stop' }
  /** This node leaves, as on a notice of preemption. */
  | { readonly do: 'drain' }
  /** Another round, that costs no restart. */
  | { readonly do: 'restart' }
  /** Stacks of these ranks; absent: of all of this node. */
  | { readonly do: 'dump'; readonly ranks?: readonly number[] };

export type ControlAnswer =
  | { readonly ok: true; readonly status: RunStatus }
  | { readonly ok: true; readonly dump: DumpAnswer }
  /** It's under way. */
  | { readonly ok: true }
  | { readonly ok: false; readonly why: string };

/** What became of taking stacks. */
export interface DumpAnswer {
  /** Where workers wait, in one line. */
  readonly summary: string;
  readonly files: readonly { readonly rank: number; readonly path?: string }[];
}

/** A run on this node, at one moment. */
export interface RunStatus {
  readonly runId: string;
  /** The script, module or program. */
  readonly name: string;
  readonly host: string;
  /** The agent's. */
  readonly pid: number;
  /** Since the agent began, in milliseconds. */
  readonly ranMs: number;
  /** Of the worker group: `joining` waits for its next round, `running` has all of its workers. */
  readonly phase: string;
  /** Absent before the first round. */
  readonly round?: number;
  readonly restartCount?: number;
  /** Failures that are still answered by a round, as far as it's known; absent: no number says so. */
  readonly restartsLeft?: number;
  readonly maxRestarts: number;
  /** This node's number in the round, and how many there are. */
  readonly groupRank?: number;
  readonly nodes?: number;
  readonly worldSize?: number;
  /** Of the present round on this node. */
  readonly workers: readonly WorkerStatus[];
  /** Of the whole run; absent where logging is off, or before the first round. */
  readonly logFolder?: string;
}

export interface WorkerStatus {
  readonly rank: number;
  readonly localRank: number;
  readonly pid: number;
  readonly state: 'running' | 'ended';
  /** Since its start, in milliseconds. */
  readonly ranMs: number;
  /** Files that have its output; those that are absent went elsewhere. */
  readonly stdout?: string;
  readonly stderr?: string;
}
