/**
 * Nodes whose workers fail again and again: each failure that decided is a strike against its node, and one with too
 * many is left out for a while, as long as the others are enough. Times are of the clock of whoever leads.
 */

export interface StrikeRule {
  /** So many failures are too many, */
  readonly failures: number;
  /** within this time, and for this time the node is left out then. */
  readonly perMs: number;
}

export interface Strikes {
  readonly failures: readonly { readonly node: string; readonly atMs: number }[];
  readonly leftOut: readonly { readonly node: string; readonly untilMs: number }[];
}

export const noStrikes: Strikes = { failures: [], leftOut: [] };

/** After a failure that decided, at a node. */
export function struck(
  before: Strikes,
  node: string,
  rule: StrikeRule | undefined,
  nowMs: number,
): Strikes {
  if (rule === undefined) return noStrikes;
  const { failures: most, perMs } = rule;
  const { failures: earlier, leftOut } = current(before, rule, nowMs);
  const failures = [...earlier, { node, atMs: nowMs }];
  if (failures.filter(each => each.node === node).length < most) return { failures, leftOut };
  return {
    failures: failures.filter(each => each.node !== node),
    leftOut: [...leftOut.filter(each => each.node !== node), { node, untilMs: nowMs + perMs }],
  };
}

/** By another one's clock, which says nothing here: all is as if it had just happened. */
export function asOf(
  { failures, leftOut }: Strikes,
  rule: StrikeRule | undefined,
  nowMs: number,
): Strikes {
  if (rule === undefined) return noStrikes;
  return {
    failures: failures.map(({ node }) => ({ node, atMs: nowMs })),
    leftOut: leftOut.map(({ node }) => ({ node, untilMs: nowMs + rule.perMs })),
  };
}

/** Without what is over by then. */
export function current(
  { failures, leftOut }: Strikes,
  rule: StrikeRule | undefined,
  nowMs: number,
): Strikes {
  if (rule === undefined) return noStrikes;
  return {
    failures: failures.filter(({ atMs }) => nowMs - atMs < rule.perMs),
    leftOut: leftOut.filter(({ untilMs }) => untilMs > nowMs),
  };
}

/** When a node may take part again; absent: now. */
export function leftOutUntil(strikes: Strikes, node: string, nowMs: number): number | undefined {
  const untilMs = strikes.leftOut.find(each => each.node === node)?.untilMs;
  return untilMs !== undefined && untilMs > nowMs ? untilMs : undefined;
}

/** Nodes that are left out, and weren't before. */
export function newlyLeftOut(
  before: Strikes | undefined,
  after: Strikes | undefined,
): readonly string[] {
  const known = before?.leftOut.map(({ node }) => node) ?? [];
  return (after?.leftOut ?? []).map(({ node }) => node).filter(node => !known.includes(node));
}
