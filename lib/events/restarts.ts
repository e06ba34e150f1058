/** Why a round was followed by another one. */
export type RestartCause =
  | 'failure'
  | 'hang'
  | 'peer-failure'
  | 'peer-lost'
  | 'membership'
  | 'ordered'
  | 'fenced';

/**
 * Phases of a restart on this node, in milliseconds, in the order in which they come. Each begins where the one before
 * ends, so that they add up to `totalMs`; one that didn't take place, or can't be seen, is absent.
 */
export interface RestartPhases {
  /**
   * From the death, as the core's thread saw it, to the decision to stop the group. Absent where no worker's death
   * of this node was the cause. The kernel keeps no time of a death: where a worker's early notice came first, it's
   * that of the notice.
   */
  readonly noticed?: number;
  /** Until no worker is left, what they had left behind is gone, and their output is written. */
  readonly stopped?: number;
  /** Hooks, the wait for GPUs, and the back-off. */
  readonly paused?: number;
  /** Until the next round is given, without `paused`. The failures are described meanwhile. */
  readonly rendezvous?: number;
  /** Until the last worker of the new round runs its program, or its standby has taken it over. */
  readonly started?: number;
  /**
   * Until a worker of the new round, on whatever node, has first used the round's store, as `init_process_group` does.
   * Absent where this agent doesn't serve it, and where nobody has within two minutes or before the round's end.
   */
  readonly script?: number;
}

/**
 * A worker, on whatever node, has used the round's store for the first time, as `init_process_group` does. Only where this agent
 * serves it, and behind the round's `round-started`.
 */
export interface StoreUsedEvent {
  readonly event: 'store-used';
  readonly round: number;
  readonly atMs: number;
}

/** Another round runs after one that was cut short. Told when its last phase is known. */
export interface RestartedEvent {
  readonly event: 'restarted';
  /** The new one. */
  readonly round: number;
  readonly cause: RestartCause;
  readonly totalMs: number;
  readonly phases: RestartPhases;
  readonly atMs: number;
}

/** What a run's restarts have cost on this node. */
export interface RestartSummary {
  /** Restarts whose workers have started. */
  readonly restarts: number;
  readonly byCause: Readonly<Partial<Record<RestartCause, number>>>;
  /** Milliseconds of all restarts together: their `totalMs`. */
  readonly lostMs: number;
  /**
   * Milliseconds in which the workers trained, as far as it can be known without the script's help: of each round from
   * the end of its `script` phase, or from its workers' start where that isn't seen, to what cut it, or its end.
   */
  readonly trainedMs: number;
  /** Milliseconds from the launch to the end. */
  readonly wallMs: number;
  /**
   * `trainedMs` as a share of `wallMs`: the effective training time ratio, at most. Steps that were done again since the
   * last checkpoint count as training.
   */
  readonly effectiveRatio: number;
}
