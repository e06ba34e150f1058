import type { WorkerIdentity } from '../events.js';
import type { NativeStoreSlot } from '../native/store.js';

/**
 * The newest beat of all of a worker's clients: a callback object for each phase has one, and a helper that it has started
 * may beat for it, by its rank.
 *
 * @returns `none` where none has beaten, or those that have are closed
 */
export function newestBeat(
  slots: readonly NativeStoreSlot[],
  { pid, rank }: WorkerIdentity,
  workers: readonly WorkerIdentity[],
): { readonly atMs: number; readonly step: number } | 'none' {
  const own = slots.filter(
    slot =>
      slot.beats > 0 &&
      (slot.pid === pid || (slot.rank === rank && !workers.some(each => each.pid === slot.pid))),
  );
  const [first, ...others] = own;
  if (first === undefined) return 'none';
  const newest = others.reduce((a, b) => (b.beatAtMs > a.beatAtMs ? b : a), first);
  return { atMs: newest.beatAtMs, step: newest.step };
}
