import type { StoreAddress } from '../job/shared.js';
import type { ParticipantState } from '../job/state.js';
import type { RoundPlan } from '../rendezvous.js';

/** What a node tries to reach beside a round. */
export interface Target {
  /** The workers' store, or a port that another node's agent has opened for this. */
  readonly what: 'store' | 'node';
  readonly at: StoreAddress;
  /** NAME (ADDRESS) of its node. */
  readonly there: string;
}

/**
 * What a node tries to reach beside a round: the workers' store, where another node serves it, and the node that follows it
 * in the order of ranks, the first one behind the last: so each node is tried by one. Pure.
 *
 * @param servesStore whether the agent of rank 0 does
 */
export function targetsOf(
  { view, self }: Pick<ParticipantState, 'view' | 'self'>,
  { round, place, master }: RoundPlan,
  servesStore: boolean,
): readonly Target[] {
  const { number, participants = [] } = view.round?.value ?? {};
  const [first] = participants;
  if (number !== round || first === undefined) return [];
  const targets: Target[] = [];
  if (servesStore && master?.isOurs === false) {
    const { host, port } = master;
    targets.push({ what: 'store', at: { host, port }, there: first.node });
  }
  const next = participants[place.groupRank + 1] ?? first;
  const door = view.members.get(next.agent)?.value.door;
  if (door !== undefined && next.agent !== self.agent)
    targets.push({ what: 'node', at: door, there: next.node });
  return targets;
}
