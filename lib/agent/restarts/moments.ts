import type { RestartCause } from '../../events/restarts.js';
import type { StopReason } from '../../events.js';
import type { AgentState, Happening, Step } from '../step/state.js';

/** A moment at which a phase of a restart begins or ends. */
export type Moment =
  | { readonly what: 'launched'; readonly atMs: number }
  /** The round is over, by decision. Without a cause no round will follow. */
  | {
      readonly what: 'cut';
      readonly cause: RestartCause | undefined;
      /** When the worker died that it's for. */
      readonly diedAtMs?: number;
      readonly atMs: number;
    }
  | { readonly what: 'group-ended'; readonly atMs: number }
  | { readonly what: 'pause'; readonly atMs: number }
  | { readonly what: 'join'; readonly atMs: number }
  | { readonly what: 'formed'; readonly round: number; readonly atMs: number }
  | {
      readonly what: 'started';
      readonly round: number;
      /** Whether this node serves the round's store, if an agent does. */
      readonly isServed: boolean;
      readonly atMs: number;
    }
  /** A worker has used the round's store for the first time. */
  | { readonly what: 'used'; readonly round: number; readonly atMs: number }
  /** Nobody has for long enough. */
  | { readonly what: 'unused'; readonly round: number; readonly atMs: number }
  | { readonly what: 'ended'; readonly atMs: number };

/** The moments that a step shows, in their order. */
export function momentsOf(
  before: AgentState,
  happening: Happening,
  [after, actions]: Step,
  nowMs: number,
): Moment[] {
  const moments: Moment[] = [];
  if (before.phase === 'idle' && after.phase !== 'idle')
    moments.push({ what: 'launched', atMs: nowMs });
  const cut = cutOf(before, happening, after, nowMs);
  if (cut !== undefined) moments.push(cut);
  if (happening.event === 'group-ended' && isLive(before) && !isLive(after))
    moments.push({ what: 'group-ended', atMs: Math.min(happening.atMs, nowMs) });
  // There was nobody to end.
  if (happening.event === 'start-failed' && before.phase === 'stopping')
    moments.push({ what: 'group-ended', atMs: nowMs });
  if (before.phase === 'joining' && (after.phase === 'preparing' || after.phase === 'starting'))
    moments.push({ what: 'formed', round: after.round, atMs: nowMs });
  if (happening.event === 'started' && before.phase === 'starting' && after.phase === 'running') {
    const { round, master } = after;
    const isServed = master === undefined || master.isOurs;
    moments.push({ what: 'started', round, isServed, atMs: Math.min(happening.atMs, nowMs) });
  }
  const pauses = actions.flatMap(each => (each.do === 'begin-pause' ? [each.pause.name] : []));
  // A hook before a stop is a part of the stop.
  for (const name of pauses)
    if (name !== 'pre-stop')
      moments.push({ what: name === 'join' ? 'join' : 'pause', atMs: nowMs });
  if (after.phase === 'ended' && before.phase !== 'ended')
    moments.push({ what: 'ended', atMs: nowMs });
  return moments;
}

function cutOf(
  before: AgentState,
  happening: Happening,
  after: AgentState,
  nowMs: number,
): Moment | undefined {
  if (isLive(before) && before.phase !== 'stopping' && after.phase === 'stopping') {
    const isDeath = happening.event === 'exited' || happening.event === 'dying';
    const died = isDeath ? { diedAtMs: Math.min(happening.atMs, nowMs) } : {};
    return { what: 'cut', cause: causeOf(after.reason), ...died, atMs: nowMs };
  }
  // Its workers had succeeded, and the round is over all the same.
  if (
    before.phase === 'describing' &&
    after.phase === 'joining' &&
    happening.event === 'round-broken'
  )
    return { what: 'cut', cause: happening.because, atMs: nowMs };
  return undefined;
}

function isLive({ phase }: AgentState): boolean {
  return phase === 'starting' || phase === 'running' || phase === 'stopping';
}

/** @returns undefined for what ends the run on this node */
function causeOf(reason: StopReason): RestartCause | undefined {
  switch (reason) {
    case 'signal':
    case 'caller':
    case 'preempt':
      return undefined;
    default:
      return reason;
  }
}
