/** What the end of whoever has the store looks at. */
export interface LingerSurroundings {
  /** Connections at the store, and what has come over them so far. */
  visitors(): { readonly clients: number; readonly bytesIn: number };
  /** People wait no longer. */
  isHurried(): boolean;
  nowMs(): number;
  pause(ms: number): Promise<unknown>;
}

/** Agents look at the state once a second: whoever has asked for nothing for so long wants nothing. */
const quietMs = 2_000;
/** Between two looks. */
const gapMs = 50;

/**
 * Waits until nobody is at the store any more, or nobody there has asked for anything for two seconds.
 *
 * @param mostMs gives up
 */
export async function linger(
  { visitors, isHurried, nowMs, pause }: LingerSurroundings,
  mostMs: number,
): Promise<void> {
  const untilMs = nowMs() + mostMs;
  let asked = { bytesIn: visitors().bytesIn, atMs: nowMs() };
  while (!isHurried() && nowMs() < untilMs) {
    const { clients, bytesIn } = visitors();
    if (bytesIn !== asked.bytesIn) asked = { bytesIn, atMs: nowMs() };
    if (clients === 0 || nowMs() - asked.atMs >= quietMs) return;
    await pause(gapMs);
  }
}
