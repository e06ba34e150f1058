import { isPast, type Mover } from './moves.js';
import { hasSpares, nameOf, type StockState } from './state.js';
import { millisecondsOf } from './times.js';

/** What follows from the state for a node that wants to take part in a round. */
export type Move =
  /** It does. */
  | 'in'
  /** The job is over. */
  | 'closed'
  /** The job is over, and this node was a spare of it. */
  | 'released'
  /** No round in time, and this node is in no list any more. */
  | 'late'
  | 'participate'
  | 'wait'
  | 'stand-by'
  | 'complete'
  /** Out of all lists; from those of spares for a place among the others, with all the time there is for it. */
  | 'leave'
  | 'give-up-standing-by'
  | 'keep-alive'
  | 'look-again';

/**
 * The next move towards a round, as PyTorch's agents decide it.
 *
 * @param isLate whether the time for a round is over
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/dynamic_rendezvous.py, _RendezvousJoinOp
 */
export function towardsRound(state: StockState, mover: Mover, isLate: boolean): Move {
  const { node, generation, settings } = mover;
  const name = nameOf(node);
  const isSpare = state.spares.has(name);
  const isIn = state.participants.has(name);
  const count = state.participants.size;
  if (state.isClosed) return isSpare ? 'released' : 'closed';
  if (isSpare) {
    // Not where there are more: whoever was given another number would give up and stand by in turn.
    if (count < settings.maxNodes) return 'give-up-standing-by';
    return isStale(state, mover) ? 'keep-alive' : 'look-again';
  }
  if (state.isComplete && isIn) return 'in';
  if (isLate) return isIn || state.waiting.has(name) ? 'leave' : 'late';
  if (state.isComplete && !state.waiting.has(name)) {
    if (count < settings.maxNodes) return 'wait';
    // Before 2.3 a node too many looks on, and nobody knows of it.
    if (hasSpares(generation)) return 'stand-by';
  }
  if (!state.isComplete && !isIn) return 'participate';
  if (!state.isComplete && count >= settings.minNodes && count <= settings.maxNodes) {
    if (isPast(state, mover.wallMs)) return 'complete';
  }
  return isStale(state, mover) ? 'keep-alive' : 'look-again';
}

/** Whether this node's heartbeat is due; not where the others have given it up. */
export function isStale(
  { heartbeats }: StockState,
  { node, settings, wallMs }: Pick<Mover, 'node' | 'settings' | 'wallMs'>,
): boolean {
  const heartbeat = heartbeats.get(nameOf(node));
  if (heartbeat === undefined) return false;
  return millisecondsOf(heartbeat.at) <= wallMs - settings.keepAliveMs;
}
