import { type Generation, isAware, nameOf, type StockNode, type StockState } from './state.js';
import { millisecondsOf, timeAt } from './times.js';

/**
 * What an agent of PyTorch does to the shared state, each as one change that is written as a whole. Pure.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/dynamic_rendezvous.py: _DistributedRendezvousOpExecutor,
 *   _remove_participant_epilogue and _BackendRendezvousStateHolder._sanitize
 */

/** What a node is given: none of it is in the state, so all nodes must be given the same. */
export interface StockSettings {
  readonly minNodes: number;
  readonly maxNodes: number;
  /** For more nodes to come, once there are `minNodes`. */
  readonly lastCallMs: number;
  /** For a round to be complete, from the wish to take part on. */
  readonly joinTimeoutMs: number;
  /** Between two heartbeats. */
  readonly keepAliveMs: number;
  /** From a node's last heartbeat until it's taken for dead. */
  readonly deadAfterMs: number;
}

/** Who changes it, and when. */
export interface Mover {
  readonly node: StockNode;
  readonly generation: Generation;
  readonly settings: StockSettings;
  /** Since 1970, by this node's clock: PyTorch's agents compare such times. */
  readonly wallMs: number;
}

export function withHeartbeat(state: StockState, mover: Mover): StockState {
  const { node, generation, wallMs } = mover;
  const at = timeAt(wallMs, isAware(generation));
  return { ...state, heartbeats: put(state.heartbeats, nameOf(node), { node, at }) };
}

/** Takes part in the round that is being formed, which may be complete by that. */
export function withParticipant(state: StockState, mover: Mover): StockState {
  const { node, generation, settings, wallMs } = mover;
  const name = nameOf(node);
  const participants = put(state.participants, name, { node, rank: 0 });
  const waiting = without(state.waiting, [name]);
  const next = withHeartbeat({ ...state, participants, waiting }, mover);
  if (participants.size === settings.maxNodes) return completed(next);
  // Not only at the number itself: whoever was given another one may have left it without, and releases before 2.6 fail then.
  if (participants.size < settings.minNodes || state.deadline !== undefined) return next;
  return { ...next, deadline: timeAt(wallMs + settings.lastCallMs, isAware(generation)) };
}

/** Waits for the next round, and so brings it about. */
export function withWaiting(state: StockState, mover: Mover): StockState {
  const name = nameOf(mover.node);
  const spares = without(state.spares, [name]);
  return withHeartbeat({ ...state, spares, waiting: put(state.waiting, name, mover.node) }, mover);
}

/** Waits for a vacancy, and brings nothing about. */
export function withSpare(state: StockState, mover: Mover): StockState {
  const spares = put(state.spares, nameOf(mover.node), mover.node);
  return withHeartbeat({ ...state, spares }, mover);
}

/** Without nodes that have left, or are dead. The round is over when nobody is in it any more. */
export function withoutNodes(
  state: StockState,
  names: readonly string[],
  { minNodes }: Pick<StockSettings, 'minNodes'>,
): StockState {
  const participants = without(state.participants, names);
  const next = {
    ...state,
    participants,
    waiting: without(state.waiting, names),
    spares: without(state.spares, names),
    heartbeats: without(state.heartbeats, names),
  };
  if (participants.size === state.participants.size) return next;
  if (!state.isComplete)
    return participants.size < minNodes ? { ...next, deadline: undefined } : next;
  return participants.size > 0 ? next : { ...next, isComplete: false, round: state.round + 1 };
}

/** The round has its nodes. Ranks are those of the order in which PyTorch has them. */
export function completed(state: StockState): StockState {
  const ordered = [...state.participants.values()].map(({ node }) => node).sort(byPython);
  const participants = new Map(ordered.map((node, rank) => [nameOf(node), { node, rank }]));
  return { ...state, isComplete: true, deadline: undefined, participants };
}

export function closed(state: StockState): StockState {
  return { ...state, isClosed: true };
}

/** Whether a deadline has passed. */
export function isPast({ deadline }: StockState, wallMs: number): boolean {
  return deadline !== undefined && millisecondsOf(deadline) < wallMs;
}

/** The order of Python's tuples: of texts by their characters, which is that of their bytes in UTF-8. */
function byPython(one: StockNode, other: StockNode): number {
  return (
    Buffer.compare(Buffer.from(one.address), Buffer.from(other.address)) ||
    one.pid - other.pid ||
    one.localId - other.localId
  );
}

function put<T>(map: ReadonlyMap<string, T>, name: string, value: T): ReadonlyMap<string, T> {
  return new Map(map).set(name, value);
}

function without<T>(map: ReadonlyMap<string, T>, names: readonly string[]): ReadonlyMap<string, T> {
  if (!names.some(name => map.has(name))) return map;
  return new Map([...map].filter(([name]) => !names.includes(name)));
}
