import type { Change } from '../../coordination/coordination.js';
import { type LeaderWrite, lead } from './lead.js';
import { bring } from './move.js';
import { isDone, isTold, keys, type Member, unchanged, type View } from './shared.js';
import { type ParticipantState, type Write, withoutMemory } from './state.js';

/** The next write, if there's one to make. */
export function decide(
  state: ParticipantState,
  nowMs: number,
  chance: number,
): { state: ParticipantState; write?: Write; wakeAtMs?: number } {
  const { view, self, local, failure, hasLease, options } = state;
  const isReady = hasLease && !state.isWriting && view.revision >= state.notBefore;
  if (!isReady || local.is === 'idle' || local.is === 'over') return { state };
  const writing = (write: Write, from = state) => ({ state: { ...from, isWriting: true }, write });

  // Before all that's about it, and with the settings that it was formed by.
  if (state.brought !== undefined) return writing(bring(state, state.brought));
  if (view.settings === undefined) {
    return writing({
      compares: [{ key: keys.settings, is: 'absent' }],
      changes: [{ put: keys.settings, value: JSON.stringify(options.settings) }],
    });
  }
  // Before its own state, which frees the leader to go on.
  if (failure !== undefined) {
    const key = keys.failure(failure.round, self.agent);
    const written = view.failures.get(`${failure.round}/${self.agent}`);
    const { failure: _, ...rest } = state;
    if (written !== undefined && isTold(failure, written.value)) return decide(rest, nowMs, chance);
    return writing({
      compares: [unchanged(key, written)],
      changes: [{ put: key, value: JSON.stringify(failure) }],
    });
  }
  if (local.is === 'done' && !isDone(view, local.round, self.agent)) {
    const key = keys.done(local.round, self.agent);
    return writing({
      compares: [{ key, is: 'absent' }],
      changes: [{ put: key, value: 'true' }],
    });
  }
  const own = view.members.get(self.agent);
  const isInRound = local.is === 'stopping' || local.is === 'done';
  const wanted: Member = {
    ...self,
    incarnation: state.incarnation,
    state: isInRound ? { is: 'running', round: local.round } : local,
    ...(state.past === undefined ? {} : { past: state.past }),
  };
  if (own === undefined || JSON.stringify(own.value) !== JSON.stringify(wanted)) {
    const key = keys.member(self.agent);
    return writing({
      compares: [unchanged(key, own)],
      changes: [{ put: key, value: JSON.stringify(wanted), isLeased: true }],
    });
  }
  if (view.leader === undefined && local.is !== 'leaving') {
    return writing({
      compares: [{ key: keys.leader, is: 'absent' }],
      changes: [{ put: keys.leader, value: JSON.stringify({ agent: self.agent }), isLeased: true }],
    });
  }
  if (view.leader?.value.agent !== self.agent) return { state: withoutMemory(state) };
  if (isForlorn(state)) return { state };

  const { memory, write, wakeAtMs } = lead(view, state.memory, options, nowMs, chance);
  const led = { ...state, memory };
  if (write === undefined) return { state: led, ...(wakeAtMs === undefined ? {} : { wakeAtMs }) };
  return writing(
    {
      compares: [
        { key: keys.leader, modified: view.leader.modified },
        unchanged(keys.round, view.round),
        { key: keys.verdict, is: 'absent' },
      ],
      changes: [{ put: write.key, value: JSON.stringify(write.value) }, ...removals(view, write)],
    },
    led,
  );
}

/** Whether it has lost all the nodes of its last round together with their table. */
export function isForlorn({ past, view, self }: ParticipantState): boolean {
  if (past === undefined || past.nodes === 1 || view.round !== undefined) return false;
  return [...view.members.keys()].every(agent => agent === self.agent);
}

/** Of one write: engines take no more than 128 comparisons and changes. */
const mostRemovals = 100;

/** What nobody asks for any more, once a round has formed: what became of those before the last one. */
function removals(view: View, { key, value }: LeaderWrite): readonly Change[] {
  if (key !== 'round' || value.ending !== undefined) return [];
  const isOld = (each: string): boolean => Number(each.split('/')[0]) < value.number - 1;
  const old = (['failures', 'done'] as const).flatMap(kind =>
    [...view[kind].keys()].filter(isOld).map(each => ({ delete: `${kind}/${each}` })),
  );
  return old.slice(0, mostRemovals);
}
