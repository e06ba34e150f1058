import type { Settings, View } from './shared.js';

/** Whether an agent is one too many: so many as a round and its spares may be were there before it. */
export function isTooMany(view: View, agent: string, { maxNodes, spares }: Settings): boolean {
  const own = view.members.get(agent);
  if (spares === undefined || own === undefined || own.value.state.is !== 'waiting') return false;
  const before = [...view.members.values()].filter(
    ({ value: { state }, created }) =>
      state.is === 'running' || (state.is === 'waiting' && created < own.created),
  );
  return before.length >= maxNodes + spares;
}
