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
  const { report } = view.failures.get(`${round}/${agent}`)?.value ?? {};
  if (report === undefined) return undefined;
  const node = nodeOf(view, agent);
  return report.failures.map(failure => ({ ...failure, node }));
}

/** Who has this agent's group rank in a job whose ranks are given. */
export interface RankHolder {
  readonly agent: string;
  /** NAME (ADDRESS). */
  readonly node: string;
  /** On this agent's own node: it may be the one that was there before, and not be known to be gone yet. */
  readonly isHere: boolean;
}

/** The agent that was first to take this one's group rank; one on another node only before a round, or in one with this. */
export function holderOfRank({
  view,
  self,
}: Pick<ParticipantState, 'view' | 'self'>): RankHolder | undefined {
  const own = view.members.get(self.agent);
  const round = view.round?.value;
  const isIn = round === undefined || round.participants.some(each => each.agent === self.agent);
  if (own === undefined) return undefined;
  const holders = [...view.members.values()].flatMap(
    ({ value: { agent, node, hint, state }, created }) => {
      const isHere = node === self.node;
      // One that this one follows on its node, and that is about to end.
      if (isHere && state.is === 'leaving') return [];
      const isOlder = hint === self.hint && agent !== self.agent && created < own.created;
      return isOlder && (isHere || isIn) ? [{ agent, node, isHere }] : [];
    },
  );
  return holders.find(({ isHere }) => !isHere) ?? holders[0];
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
