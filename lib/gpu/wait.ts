import type { GpuHolder } from '../events.js';

/** First and longest time from one look to the next: each costs a walk through /proc. */
const firstPauseMs = 20;
const maxPauseMs = 250;

export interface GpuSurroundings {
  /** Everybody who holds a GPU now. */
  look(): Promise<readonly GpuHolder[]>;
  nowMs(): number;
  /** Resolves early once `cancelled` has been called. */
  sleep(ms: number): Promise<void>;
  isCancelled(): boolean;
}

/**
 * Waits until no process of the round holds a GPU any more. Others aren't waited for.
 *
 * @returns whoever holds one in the end; ours are among them if the time didn't suffice
 */
export async function waitForGpus(
  waitMs: number,
  { look, nowMs, sleep, isCancelled }: GpuSurroundings,
): Promise<readonly GpuHolder[]> {
  const untilMs = nowMs() + waitMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, maxPauseMs)) {
    const holders = await look();
    const leftMs = untilMs - nowMs();
    if (isCancelled() || leftMs <= 0 || !holders.some(({ isOurs }) => isOurs)) return holders;
    await sleep(Math.min(pauseMs, leftMs));
  }
}
