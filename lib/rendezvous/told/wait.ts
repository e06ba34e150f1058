import type { NodesWait } from '../../events/nodes.js';
import { chosenOf, leastSize } from '../job/choose.js';
import { isDone, type View } from '../job/shared.js';
import { isTooMany } from '../job/spares.js';
import type { ParticipantState } from '../job/state.js';
import { endsOf } from './ends.js';

/** What a wait is limited by. */
export interface WaitLimits {
  readonly endpoint: string;
  readonly joinTimeoutMs: number;
  readonly lastCallMs: number;
  readonly endsMs: number;
}

/** What this node waits for, by what it knows of the others; absent: it doesn't, or only for a moment. Pure. */
export function waitOf(
  { view, local, hasLease, options, self }: ParticipantState,
  { endpoint, joinTimeoutMs, lastCallMs, endsMs }: WaitLimits,
): NodesWait | undefined {
  if (local.is === 'over' && local.hasConcluded === true) {
    const nodes = endsOf(view, self.agent).awaited;
    return nodes.length === 0 ? undefined : { waitsFor: 'ends', nodes, limitMs: endsMs };
  }
  if (local.is === 'done') return peersOf(view, local.round, self.agent);
  if (local.is !== 'waiting') return undefined;
  if (!hasLease) return { waitsFor: 'endpoint', endpoint, limitMs: joinTimeoutMs };
  const { settings } = options;
  const { maxNodes } = settings;
  const minNodes = leastSize(settings);
  const round = view.round?.value;
  if (round !== undefined && round.ending === undefined) {
    // It has just left that one itself, and the others do the same.
    if (local.round >= round.number) return undefined;
    const nodes = round.participants.length;
    const place = { waitsFor: 'place', round: round.number, nodes, maxNodes } as const;
    const { spares } = settings;
    if (spares === undefined || !isTooMany(view, self.agent, settings)) return place;
    return { ...place, spares, limitMs: joinTimeoutMs };
  }
  const members = [...view.members.values()].map(({ value }) => value);
  const names = (some: typeof members): string[] => some.map(({ node }) => node).sort();
  const ready = members.filter(({ state }) => state.is === 'waiting');
  const here = names(ready);
  const ending = names(members.filter(({ state }) => state.is !== 'waiting'));
  const before = round?.participants ?? [];
  const candidates = ready.map(member => ({ ...member, since: 0 }));
  const isEnough = chosenOf(candidates, before, settings).length > 0;
  const isLastCall = round === undefined && isEnough;
  const mayStart = isEnough && (round !== undefined || here.length >= maxNodes);
  if (mayStart && ending.length === 0) return undefined;
  const limitMs = isLastCall ? lastCallMs : joinTimeoutMs;
  return { waitsFor: 'nodes', endpoint, minNodes, maxNodes, here, ending, limitMs };
}

/** Others whose workers run, where this node's have all ended well; absent: none, or the round is over. */
function peersOf(view: View, number: number, self: string): NodesWait | undefined {
  const round = view.round?.value;
  if (round?.number !== number || round.ending !== undefined) return undefined;
  const { participants } = round;
  const running = participants.filter(
    ({ agent }) => agent !== self && !isDone(view, number, agent),
  );
  if (running.length === 0) return undefined;
  return {
    waitsFor: 'peers',
    round: number,
    done: participants.length - running.length,
    nodes: participants.length,
    running: running.map(({ node }) => node).sort(),
  };
}
