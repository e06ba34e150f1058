import type { WorkerFailure } from '../../events.js';
import type { Verdict } from '../../rendezvous/rendezvous.js';
import type { Action, After, AgentState, Ending, Of, Step } from './state.js';
import { finish } from './transitions.js';

/** How a node whose job has failed tells the others what became of its workers, and hears what became of theirs. */

const peers = { name: 'peers' } as const;

export function awaitsPeers(verdict: Verdict): boolean {
  return verdict.do === 'fail' && verdict.awaitsPeers === true;
}

/** The same end, but not before the other nodes have told their part. `first` leads to it. */
export function afterPeers([next, actions]: Step, round: number, first: Action): Step {
  const unread = first.do === 'describe' ? { isUnread: true as const } : {};
  if (next.phase === 'after') {
    return [{ ...next, pauses: [...next.pauses, peers], ...unread }, [...actions, first]];
  }
  const last = actions.find(each => each.do === 'finish');
  if (last === undefined || next.phase !== 'ended') return [next, actions];
  const { policy } = next;
  const { ending } = last;
  const after: After = { phase: 'after', policy, round, pauses: [peers], ending, ...unread };
  const others = actions.filter(each => each !== last);
  return [after, [...others, first, { do: 'begin-pause', round, pause: peers }]];
}

/** This node's victims were read after the job's end had been told. */
export function onLateDescribed(
  { isUnread, ...state }: After,
  { failures }: Of<'described'>,
): Step {
  if (isUnread === undefined) return [state, []];
  const ending = withFailures(state.ending, failures);
  return [{ ...state, ending }, [{ do: 'conclude', failures }]];
}

export function onPeersEnded(state: AgentState, { failures }: Of<'peers-ended'>): Step {
  if (state.phase !== 'after') return [state, []];
  const ending = withFailures(state.ending, failures);
  const [pause] = state.pauses;
  if (pause?.name === 'peers') return finish(state.policy, ending);
  return [{ ...state, ending, pauses: state.pauses.filter(({ name }) => name !== 'peers') }, []];
}

/** The root cause first, and all others in one order on all nodes: those before a stop by their ranks, then the rest. */
function withFailures(ending: Ending, more: readonly WorkerFailure[]): Ending {
  if (ending.outcome !== 'failed') return ending;
  const [root, ...known] = ending.failures;
  const isNew = ({ rank }: WorkerFailure): boolean => ending.failures.every(e => e.rank !== rank);
  const others = [...known, ...more.filter(isNew)].sort(
    (a, b) => Number(a.duringStop) - Number(b.duringStop) || a.rank - b.rank,
  );
  return { ...ending, failures: root === undefined ? others : [root, ...others] };
}
