import type { Participant, Settings } from './shared.js';

/** A node that may take part in the next round. */
export interface Candidate extends Participant {
  readonly hint?: number;
  /** When it came, in whatever unit. */
  readonly since: number;
  /** Its workers have failed too often: it comes last. */
  readonly isStruck?: boolean;
}

/** Group ranks of the last round, by node. */
export function ranksOf(before: readonly Participant[]): ReadonlyMap<string, number> {
  const ranks = new Map<string, number>();
  // Of two agents of one node the first one's counts.
  for (const [rank, { node }] of before.entries()) if (!ranks.has(node)) ranks.set(node, rank);
  return ranks;
}

/**
 * Who takes part in the next round, of all who are ready for it; nobody, where they are too few. Those who took part in
 * the last one come first, then those who have waited longest; and struck ones only where the others are too few.
 *
 * @param before of the last round
 */
export function chosenOf(
  candidates: readonly Candidate[],
  before: readonly Participant[],
  settings: Settings,
): readonly Candidate[] {
  const unstruck = candidates.filter(({ isStruck }) => isStruck !== true);
  const chosen = mostOf(unstruck, before, settings);
  if (chosen.length > 0 || unstruck.length === candidates.length) return chosen;
  return mostOf(candidates, before, settings);
}

function mostOf(
  candidates: readonly Candidate[],
  before: readonly Participant[],
  settings: Settings,
): readonly Candidate[] {
  const ranks = ranksOf(before);
  const preferred = [...candidates].sort((a, b) => {
    const struck = Number(a.isStruck === true) - Number(b.isStruck === true);
    if (struck !== 0) return struck;
    const [rankA, rankB] = [ranks.get(a.node), ranks.get(b.node)];
    if (rankA === undefined && rankB === undefined) return a.since - b.since || firstOrder(a, b);
    return (rankA ?? ranks.size) - (rankB ?? ranks.size);
  });
  const whole = wholeGroups(preferred, settings.groupSize);
  return whole.slice(0, sizeOf(settings, whole.length));
}

/** Nodes that make up whole groups; a group that is complete sooner, with the nodes that come first, comes first. */
function wholeGroups(candidates: readonly Candidate[], size: number): readonly Candidate[] {
  const whole: Candidate[] = [];
  const parts = new Map<string | undefined, Candidate[]>();
  for (const candidate of candidates) {
    const part = [...(parts.get(candidate.group) ?? []), candidate];
    parts.set(candidate.group, part.length === size ? [] : part);
    if (part.length === size) whole.push(...part);
  }
  return whole;
}

/** Nodes of the largest round that so many can form; 0: none. */
export function sizeOf(settings: Settings, nodes: number): number {
  for (let size = Math.min(nodes, settings.maxNodes); size >= settings.minNodes; size--)
    if (isLegal(settings, size)) return size;
  return 0;
}

/** Nodes of the smallest round. */
export function leastSize(settings: Settings): number {
  let size = settings.minNodes;
  while (size < settings.maxNodes && !isLegal(settings, size)) size++;
  return size;
}

function isLegal({ nodesPerUnit, nodesSet, groupSize }: Settings, size: number): boolean {
  const isNamed = nodesSet.length === 0 || nodesSet.includes(size);
  return isNamed && size % nodesPerUnit === 0 && size % groupSize === 0;
}

/** By hints, else by names: node2 before node10. */
export function firstOrder(a: Candidate, b: Candidate): number {
  return (
    (a.hint ?? Number.MAX_SAFE_INTEGER) - (b.hint ?? Number.MAX_SAFE_INTEGER) ||
    naturalOrder(a.node, b.node) ||
    order(a.agent, b.agent)
  );
}

/** Numbers in names count as such. ICU's collator does the same, and takes 3 ms to make, at each start of a command. */
function naturalOrder(a: string, b: string): number {
  const theirs = partsOf(b);
  for (const [i, ours] of partsOf(a).entries()) {
    const difference = partOrder(ours, theirs[i] ?? '');
    if (difference !== 0) return difference;
  }
  return order(a.length, b.length);
}

function partsOf(name: string): readonly string[] {
  return name.match(/\d+|\D+/g) ?? [];
}

function partOrder(a: string, b: string): number {
  if (!/^\d/.test(a) || !/^\d/.test(b)) return order(a, b);
  const [ours = '', theirs = ''] = [a, b].map(digits => digits.replace(/^0+/, ''));
  return ours.length - theirs.length || order(ours, theirs);
}

function order<T extends string | number>(a: T, b: T): number {
  return a < b ? -1 : Number(a > b);
}
