import type { WorkerFailure } from '../../events.js';
import type { View } from '../job/shared.js';
import type { ParticipantState } from '../job/state.js';

/** What has happened on other nodes, as this one tells it. Pure. */

/** NAME (ADDRESS) of an agent's node; NAME alone where the agent is gone. */
export function nodeOf(view: View, agent: string): string {
  const member = view.members.get(agent)?.value;
  const participant = view.round?.value.participants.find(each => each.agent === agent);
  return (member ?? participant)?.node ?? agent.replace(/\.[^.]*$/, '');
}

/** Failures that another agent has reported, the first one first, with its node. */
export function failuresOn(
  view: View,
  round: number,
  agent: string,
): readonly WorkerFailure[] | undefined {
  const node = nodeOf(view, agent);
  const { report } = view.failures.get(`${round}/${agent}`)?.value ?? {};
  return report?.failures.map(failure => ({ ...failure, node }));
}

/** The other node that was first to take this one's group rank, in a job whose ranks are given, before or in a round. */
export function holderOfRank({
  view,
  self,
}: Pick<ParticipantState, 'view' | 'self'>): string | undefined {
  const own = view.members.get(self.agent);
  const round = view.round?.value;
  const isIn = round === undefined || round.participants.some(each => each.agent === self.agent);
  if (own === undefined || !isIn) return undefined;
  // One that has come back to its node is no other one.
  return [...view.members.values()].find(
    ({ value, created }) =>
      value.hint === self.hint && value.node !== self.node && created < own.created,
  )?.value.node;
}

/** Failures of another node that a round of this one has ended for, and that a round follows. */
export function failedElsewhere({
  view,
  self,
}: Pick<ParticipantState, 'view' | 'self'>):
  | { readonly round: number; readonly failures: readonly WorkerFailure[] }
  | undefined {
  const { number, ending, participants = [] } = view.round?.value ?? {};
  const [agent] = ending?.agents ?? [];
  const wasIn = participants.some(each => each.agent === self.agent);
  if (number === undefined || ending?.because !== 'failed' || !wasIn) return undefined;
  if (agent === undefined || agent === self.agent) return undefined;
  const failures = failuresOn(view, number, agent) ?? [];
  return failures.length === 0 ? undefined : { round: number, failures };
}
