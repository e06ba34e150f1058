/** What PyTorch's file timers lead to. */
export type TimersEvent =
  /** A timer that a worker, or what it has started, hasn't released in time. Stacks follow, and then its signal. Once for each worker
   * and scope in a round, and of 16 scopes at most. */
  | {
      readonly event: 'timer-expired';
      readonly worker: { readonly rank: number; readonly localRank: number; readonly pid: number };
      /** What the timer was about, in its own words: `train.py#42`. */
      readonly scope: string;
      /** What the worker gets; absent: the timer names none, and nothing follows. */
      readonly signal?: string;
      readonly atMs: number;
    }
  /** Timers, or some of them, that don't count: why. Once for each reason in a round. */
  | { readonly event: 'timers-trouble'; readonly reason: string; readonly atMs: number };
