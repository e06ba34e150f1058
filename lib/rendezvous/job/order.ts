import { type Candidate, firstOrder, ranksOf } from './choose.js';
import type { Participant } from './shared.js';

/**
 * The next round's nodes in the order of their group ranks. Those who took part in the last one keep their ranks where
 * these still are; the others fill the holes, beside nodes of their group if they can, else in their first order. Nodes
 * of a group follow each other, whatever rank that costs.
 *
 * @param before of the last round
 */
export function orderOf(
  chosen: readonly Candidate[],
  before: readonly Participant[],
): readonly Candidate[] {
  const places: (Candidate | undefined)[] = chosen.map(() => undefined);
  const others: Candidate[] = [];
  const ranks = ranksOf(before);
  for (const candidate of chosen) {
    const rank = ranks.get(candidate.node) ?? chosen.length;
    // Two agents of one node can't both have its place.
    if (rank < chosen.length && places[rank] === undefined) places[rank] = candidate;
    else others.push(candidate);
  }
  others.sort(firstOrder);
  const order: Candidate[] = [];
  for (const [rank, placed] of places.entries()) {
    order.push(placed ?? (takeBeside(others, order.at(-1), places[rank + 1]) as Candidate)); // as many as holes
  }
  return together(order);
}

/** Takes the first one of a neighbour's group, else the first one. */
function takeBeside(
  others: Candidate[],
  ...neighbours: readonly (Candidate | undefined)[]
): Candidate | undefined {
  const groups = neighbours.map(each => each?.group);
  const found = others.findIndex(({ group }) => group !== undefined && groups.includes(group));
  return others.splice(Math.max(found, 0), 1)[0];
}

/** Moves nodes of a group to the first one of them. */
function together(order: readonly Candidate[]): readonly Candidate[] {
  const groupOf = (each: Candidate): unknown => each.group ?? each;
  const first = new Map<unknown, number>();
  for (const [rank, each] of order.entries())
    if (!first.has(groupOf(each))) first.set(groupOf(each), rank);
  const firstOf = (each: Candidate): number => first.get(groupOf(each)) ?? 0;
  return [...order].sort((a, b) => firstOf(a) - firstOf(b));
}
