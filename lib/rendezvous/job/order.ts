import type { Participant } from './shared.js';

/** A node that may take part in the next round. */
export interface Candidate extends Participant {
  readonly hint?: number;
  /** When it came, in whatever unit. */
  readonly since: number;
}

/**
 * Who takes part in the next round, in the order of their group ranks. Those who took part in the last one come first,
 * and keep their ranks where these still are; the others fill the holes, in their first order.
 *
 * @param before of the last round
 * @param count how many take part
 */
export function orderOf(
  candidates: readonly Candidate[],
  before: readonly Participant[],
  count: number,
): readonly Candidate[] {
  const rankBefore = (candidate: Candidate): number =>
    before.findIndex(({ node }) => node === candidate.node);
  const wasIn = (candidate: Candidate): boolean => rankBefore(candidate) >= 0;
  const chosen = [...candidates]
    .sort(
      (a, b) =>
        Number(wasIn(b)) - Number(wasIn(a)) ||
        (wasIn(a) ? rankBefore(a) - rankBefore(b) : a.since - b.since || firstOrder(a, b)),
    )
    .slice(0, count);

  const places: (Candidate | undefined)[] = chosen.map(() => undefined);
  const others: Candidate[] = [];
  for (const candidate of chosen) {
    const rank = rankBefore(candidate);
    // Two agents of one node can't both have its place.
    if (rank >= 0 && rank < count && places[rank] === undefined) places[rank] = candidate;
    else others.push(candidate);
  }
  others.sort(firstOrder);
  return places.map(placed => placed ?? (others.shift() as Candidate)); // as many as holes
}

const natural = new Intl.Collator('en', { numeric: true });

/** By hints, else by names: node2 before node10. */
function firstOrder(a: Candidate, b: Candidate): number {
  return (
    (a.hint ?? Number.MAX_SAFE_INTEGER) - (b.hint ?? Number.MAX_SAFE_INTEGER) ||
    natural.compare(a.node, b.node) ||
    (a.agent < b.agent ? -1 : Number(a.agent > b.agent))
  );
}
