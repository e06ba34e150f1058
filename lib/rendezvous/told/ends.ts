import type { WorkerFailure } from '../../events.js';
import { isDone, type View } from '../job/shared.js';
import { failuresOn } from './elsewhere.js';

/** What became of the workers of a failed job, as one node hears it of the others. Pure. */
export interface PeersEnds {
  /** Of the other nodes, by their ranks. */
  readonly failures: readonly WorkerFailure[];
  /** NAME (ADDRESS) of the nodes that will tell of theirs, and haven't yet. */
  readonly awaited: readonly string[];
}

const nobodyAwaited: PeersEnds = { failures: [], awaited: [] };
/** Nodes of the largest round whose nodes tell each other: each hears of all, and nobody reads a list that is longer. */
const mostNodes = 64;

/** @param self the agent that hears it */
export function endsOf(view: View, self: string): PeersEnds {
  const verdict = view.verdict?.value;
  const round = view.round?.value;
  if (verdict?.is !== 'failed' || round?.number !== verdict.round) return nobodyAwaited;
  if (!tellsEnds(view)) return nobodyAwaited;
  const failures: WorkerFailure[] = [];
  const awaited: string[] = [];
  for (const { agent, node } of round.participants) {
    if (agent === self) continue;
    const told = toldBy(view, round.number, agent);
    // One that has failed itself has reported its victims with its failure.
    const own =
      failuresOn(view, round.number, agent) ?? told?.map(failure => ({ ...failure, node }));
    failures.push(...(own ?? []));
    const member = view.members.get(agent)?.value;
    const isGone = member === undefined || member.state.is === 'leaving';
    if (own === undefined && !isGone && !isDone(view, round.number, agent)) awaited.push(node);
  }
  return { failures: failures.sort((a, b) => a.rank - b.rank), awaited: awaited.sort() };
}

/** Whether the nodes of the round that has failed tell each other of its workers' ends. */
export function tellsEnds({ round }: View): boolean {
  return (round?.value.participants.length ?? 0) <= mostNodes;
}

/** Another node may write what is no list. */
function toldBy(view: View, round: number, agent: string): readonly WorkerFailure[] | undefined {
  const told: unknown = view.ends.get(`${round}/${agent}`)?.value;
  if (told === undefined) return undefined;
  return Array.isArray(told) ? told.filter(isFailure) : [];
}

function isFailure(value: unknown): value is WorkerFailure {
  return typeof value === 'object' && value !== null && 'rank' in value;
}
