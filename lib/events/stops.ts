/** What's told while workers are being stopped. */
export type StopsEvent =
  /** Half of a grace period of 2 s or more is over, and some have not ended. Once for each signal that begins such a period. */
  {
    readonly event: 'outlasting';
    readonly workers: readonly Outlasting[];
    /** The first signal that they got. */
    readonly signal: string;
    /** Time since then. */
    readonly forMs: number;
    /** Time to SIGKILL. */
    readonly leftMs: number;
    readonly atMs: number;
  };

/** A worker that has not ended at its signal yet. */
export interface Outlasting {
  readonly rank: number;
  readonly localRank: number;
  readonly pid: number;
  /** Where in the kernel its main thread sleeps; absent: it runs, or we can't know. Of 16 workers at most. */
  readonly waitChannel?: string;
}
