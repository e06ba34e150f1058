/** Interpreters that stand by for the next round, and what they import. */
export type StandbyEvent =
  /** Interpreters with their imports done wait for the next round. */
  | {
      readonly event: 'standbys-ready';
      readonly pids: readonly number[];
      /** What each takes, its share of what several processes have in common included (PSS). Absent where the kernel doesn't tell. */
      readonly memoryBytes?: readonly number[];
      readonly atMs: number;
    }
  /** Standbys have started as workers of a round, instead of interpreters that import first; one at least. */
  | { readonly event: 'standbys-taken'; readonly round: number; readonly atMs: number }
  /** A round, or each from now on, starts without standbys: why. */
  | { readonly event: 'standby-trouble'; readonly reason: string; readonly atMs: number }
  /** What a script imports couldn't be read from the user's cache, or isn't kept there for the next run. */
  | { readonly event: 'imports-not-kept'; readonly reason: string; readonly atMs: number };
