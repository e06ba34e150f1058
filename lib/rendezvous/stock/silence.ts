import type { StockState } from './state.js';
import { millisecondsOf } from './times.js';

/** For how long each node's heartbeat has stood still, as this node has seen it. */
export type Silence = ReadonlyMap<string, Stillness>;

interface Stillness {
  readonly heartbeatMs: number;
  readonly forMs: number;
}

/** Times of which nothing has been seen, as where the store stands still, aren't counted beyond that. */
const mostGapMs = 2_000;
/** Part of the time after which a node is dead for which its heartbeat must have been seen to stand still. */
const stillPart = 2 / 3;

/**
 * What another look at the state adds.
 *
 * @param sinceMs from the look before
 */
export function looked(before: Silence, state: StockState, sinceMs: number): Silence {
  return new Map(
    [...state.heartbeats].map(([name, { at }]) => {
      const heartbeatMs = millisecondsOf(at);
      const known = before.get(name);
      const isStill = known?.heartbeatMs === heartbeatMs;
      const forMs = isStill ? known.forMs + Math.min(sinceMs, mostGapMs) : 0;
      return [name, { heartbeatMs, forMs }];
    }),
  );
}

/**
 * Nodes that are dead: their heartbeat is as old as PyTorch says, and it has been seen to stand still. By its age alone a node
 * would be dead whose clock is behind, and all of them would after a store that has stood still.
 *
 * @param wallMs since 1970, by this node's clock
 */
export function deadOf(
  silence: Silence,
  { wallMs, deadAfterMs }: { readonly wallMs: number; readonly deadAfterMs: number },
): readonly string[] {
  return [...silence]
    .filter(([, { heartbeatMs, forMs }]) => {
      return wallMs - heartbeatMs > deadAfterMs && forMs >= deadAfterMs * stillPart;
    })
    .map(([name]) => name);
}
