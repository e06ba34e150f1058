import { launchError } from '../../errors.js';
import type { AgentEvent, LeftProcess, StopReason, WorkerFailure } from '../../events.js';
import { isFailed } from '../../failures/failure.js';
import type { LastVerdict, Verdict } from '../../rendezvous/rendezvous.js';
import { unreachable } from '../../util/unreachable.js';
import { afterPeers, awaitsPeers } from './conclude.js';
import { withHung } from './exits.js';
import { aboutEnd, hookCalls, hookFailed } from './hook-calls.js';
import { discardNext } from './next-round.js';
import type {
  Action,
  After,
  Describing,
  Ending,
  GroupStop,
  HookCall,
  Joining,
  Live,
  Of,
  Pause,
  Step,
} from './state.js';
import { endHold, isFailure, livingOf } from './stopping.js';
import { finish, join } from './transitions.js';

/** What follows when no worker of a round is left: another round, perhaps after a pause, or the end. */

export function onGroupEnded(state: Live, happening: Of<'group-ended'>): Step {
  const { round } = state;
  const { stuck, strays, left, atMs, progress = 0 } = happening;
  // One that's stuck in the kernel on its way out has failed as well.
  const exits = withHung(state, atMs);
  const told: Action[] = [
    ...(state.phase === 'stopping' ? endHold(state) : []),
    ...stuck.flatMap(({ localRank, ...where }): Action[] => {
      const worker = state.workers[localRank]?.identity;
      return worker === undefined
        ? []
        : [{ do: 'tell', event: { event: 'worker-stuck', worker, ...where, atMs } }];
    }),
    ...tellStrays(strays, left, atMs),
    { do: 'release-round', round },
  ];
  // A group ends by itself only when all are gone, and a failure would have made us stop it.
  if (state.phase !== 'stopping' && livingOf(state) > 0) {
    const error = new Error(`round ${round} ended before its workers`);
    return finish(state.policy, { outcome: 'error', error }, told);
  }

  const { policy, restartCount, place, master, following, workers, notice, verdict } = state;
  const stopping = state.phase === 'stopping' ? state : undefined;
  const signaled =
    stopping?.signaledAtMs === undefined ? {} : { signaledAtMs: stopping.signaledAtMs };
  const over: Describing = {
    phase: 'describing',
    policy,
    round,
    restartCount,
    place,
    ...(master === undefined ? {} : { master }),
    ...(verdict === undefined ? {} : { verdict }),
    ...(following === undefined ? {} : { following }),
    workers,
    exits,
    ...(notice === undefined ? {} : { notice }),
    ...(stopping === undefined ? {} : { stop: stopOf(stopping) }),
    next: stopping?.next ?? 'none',
    end: { atMs, isStuck: stuck.length > 0, progress, ...signaled },
  };
  if (!isDescribed(over)) {
    const [next, actions] = onDescribed(over, { event: 'described', round, failures: [] });
    return [next, [...told, ...actions]];
  }
  // Reading goes on while the rest is done.
  return [over, [{ do: 'describe', round, exits, ...signaled }, ...told]];
}

/** Nobody asks how workers ended where an order has ended them, or where another round follows that isn't for their sake. */
function isDescribed({ exits, stop, verdict }: Describing): boolean {
  const isOrdered = stop?.order !== undefined && !isFailure(stop.reason);
  const isForOthers = stop !== undefined && isBroken(stop.reason) && verdict === undefined;
  return !isOrdered && !isForOthers && exits.some(isFailed);
}

/** Whether a stop is for what has happened on other nodes. */
export function isBroken(reason: StopReason): boolean {
  return ['peer-failure', 'peer-lost', 'membership', 'ordered', 'fenced'].includes(reason);
}

function stopOf({ reason, order, hang, sinceMs }: GroupStop): GroupStop {
  return {
    reason,
    ...(order === undefined ? {} : { order }),
    ...(hang === undefined ? {} : { hang }),
    sinceMs,
  };
}

/** A group's failures are known, the root cause first. What follows from them is the job's to decide. */
export function onDescribed(state: Describing, { failures, chance = 0 }: Of<'described'>): Step {
  const { stop, round, workers, end, notice, verdict } = state;
  if (stop === undefined) {
    // Without a notice there's no failure among them.
    if (notice === undefined && verdict === undefined)
      return [{ ...state, failures }, [{ do: 'succeed', round }]];
    const about = aboutRound(state, failures);
    return failures.length === 0
      ? endRun(state, { outcome: 'succeeded' }, about)
      : endRun(state, { outcome: 'preempted', failures, ...unfit(state) }, about);
  }
  if (verdict !== undefined) return onVerdict({ ...state, failures }, verdict);
  if (!isFailure(stop.reason)) {
    // No signal frees what a stuck process holds: the others go on without this node.
    const isEnd =
      stop.order !== undefined || notice !== undefined || !isBroken(stop.reason) || end.isStuck;
    return isEnd ? endByOrder(state, stop, failures) : rejoin(state);
  }

  const startedAtMs = Math.min(...workers.map(worker => worker.startedAtMs));
  const { atMs, progress, isStuck } = end;
  const ranMs = stop.sinceMs - startedAtMs;
  const report = { round, failures, ranMs, atMs, progress, isStuck, chance };
  return [{ ...state, failures }, [{ do: 'report', report }]];
}

/** What the job makes of a failure. An order or a notice that came before it ends the run all the same. */
export function onVerdict(state: Describing, verdict: Verdict): Step {
  const { stop, notice, failures } = state;
  if (failures === undefined) return [state, []];
  const about = aboutRound(state, failures);
  // Without a restart left the failure had decided the outcome before anybody ordered a stop.
  if (verdict.do !== 'restart') {
    const ended = endRun(state, endByVerdict(verdict, state.round, failures), about);
    // Who is told to go says no more, and isn't waited for.
    const isOrdered = stop?.order !== undefined || notice !== undefined;
    if (isOrdered || !awaitsPeers(verdict)) return ended;
    return afterPeers(ended, state.round, { do: 'conclude', failures });
  }
  if (stop === undefined) return [state, []];
  if (stop.order !== undefined || notice !== undefined) return endByOrder(state, stop, failures);
  return restart(state, failures, verdict, about);
}

/**
 * How a job's end ends this node's run.
 *
 * @param own this node's failures, the root cause first. Where the job's are told, those come first
 */
export function endByVerdict(
  verdict: LastVerdict,
  round: number,
  own: readonly WorkerFailure[],
): Ending {
  if (verdict.do === 'end') return { outcome: 'succeeded' };
  const { because, rule, failures: theirs = [] } = verdict;
  const isTold = ({ rank }: WorkerFailure): boolean => theirs.some(each => each.rank === rank);
  const failures = [...theirs, ...own.filter(each => !isTold(each))];
  return { outcome: 'failed', round, failures, because, ...(rule === undefined ? {} : { rule }) };
}

/** Whether this node's workers have all succeeded, and others' may still run. */
export function isAwaitingPeers({ stop, failures }: Describing): boolean {
  return stop === undefined && failures !== undefined;
}

/** Ends the run of a node whose workers have succeeded, and that doesn't wait for the others'. */
export function endAwaiting(state: Describing, ending: Ending): Step {
  return endRun(state, ending, aboutRound(state, []));
}

function endByOrder(state: Describing, stop: GroupStop, failures: readonly WorkerFailure[]): Step {
  const about = aboutRound(state, failures);
  if (stop.order === undefined && state.notice !== undefined)
    return endRun(state, { outcome: 'preempted', failures, ...unfit(state) }, about);
  // What isn't stopped for a failure is stopped by an order.
  const { by, signal } = stop.order ?? { by: 'caller', signal: 'SIGTERM' };
  return endRun(state, { outcome: 'stopped', by, signal, ...unfit(state) }, about);
}

function unfit({ end }: Describing): { readonly nodeUnfit?: true } {
  return end.isStuck ? { nodeUnfit: true } : {};
}

type About = Omit<HookCall, 'name'>;

function aboutRound(state: Describing, failures: readonly WorkerFailure[]): About {
  const { stop, round, exits } = state;
  if (stop !== undefined) return aboutEnd(round, stop, failures[0]?.rank);
  return { round, reason: exits.some(isFailed) ? 'preempted' : 'success' };
}

/** What comes after a round and belongs to it. */
function pausesAfter({ policy, round, stop, exits }: Describing, about: About): Pause[] {
  const isHurried = stop?.order?.hurried === true;
  return [
    ...(policy.waitsForGpus && !isHurried
      ? [{ name: 'gpus', round, strangers: exits.some(isFailed) } as const]
      : []),
    ...hookCalls(policy, 'post-round', about),
  ];
}

function endRun(state: Describing, ending: Ending, about: About): Step {
  const { policy, round, stop } = state;
  const discard = discardNext(state);
  const pauses = pausesAfter(state, about);
  const [pause] = pauses;
  if (pause === undefined) return finish(policy, ending, discard);
  const after: After = {
    phase: 'after',
    policy,
    round,
    pauses,
    ending,
    ...(stop?.order === undefined ? {} : { order: stop.order }),
  };
  return [after, [...discard, { do: 'begin-pause', round, pause }]];
}

/** Joins the next round after one that ended for what happened on other nodes. */
export function rejoin(state: Describing): Step {
  const { policy, round, exits, end } = state;
  const about = aboutRound(state, []);
  const pauses: Pause[] = [
    ...pausesAfter(state, about),
    ...hookCalls(policy, 'pre-start', { ...about, round: round + 1 }),
    { name: 'join' },
  ];
  const { signaledAtMs } = end;
  const unread = { exits, ...(signaledAtMs === undefined ? {} : { signaledAtMs }) };
  const joining = { phase: 'joining', policy, round, failures: [], pauses, next: 'none' } as const;
  return join(exits.some(isFailed) ? { ...joining, unread } : joining);
}

function restart(
  state: Describing,
  failures: readonly WorkerFailure[],
  { do: _, round: coming, ...verdict }: Extract<Verdict, { do: 'restart' }>,
  about: About,
): Step {
  const { policy, round, next, following, end } = state;
  const { delayMs } = verdict;
  const [failure] = failures;
  const restarting: Action[] =
    failure === undefined
      ? []
      : [
          {
            do: 'tell',
            event: { event: 'restarting', failure, failures, ...verdict, atMs: end.atMs },
          },
        ];
  const pauses: Pause[] = [
    ...pausesAfter(state, about),
    ...(delayMs > 0 ? [{ name: 'back-off', ms: delayMs } as const] : []),
    ...hookCalls(policy, 'pre-start', { ...about, round: coming }),
    { name: 'join' },
  ];
  const joining: Joining = {
    phase: 'joining',
    policy,
    round,
    failures,
    pauses,
    next,
    ...(following === undefined ? {} : { following }),
  };
  return join(joining, restarting);
}

function tellStrays(
  strays: readonly LeftProcess[],
  left: readonly LeftProcess[],
  atMs: number,
): Action[] {
  const killed: AgentEvent = {
    event: 'strays-killed',
    count: strays.length,
    processes: strays,
    atMs,
  };
  return [
    ...(strays.length > 0 ? [{ do: 'tell', event: killed } as const] : []),
    ...(left.length > 0
      ? [{ do: 'tell', event: { event: 'strays-left', processes: left, atMs } } as const]
      : []),
  ];
}

export function onPauseOver(
  state: Joining | After,
  { pause: name, problem }: Of<'pause-over'>,
  nowMs: number,
): Step {
  const { policy, round } = state;
  const [done, ...pauses] = state.pauses;
  const [pause] = pauses;
  // What ends the rendezvous is a round.
  if (done?.name !== name || done.name === 'join' || done.name === 'peers') return [state, []];
  if (problem !== undefined && done.name === 'pre-start') {
    const error = launchError('ERR_HOOK', [done.name, done.round, problem]);
    const discard = state.phase === 'joining' ? discardNext(state) : [];
    return finish(policy, { outcome: 'error', error }, discard);
  }
  const isHook = done.name !== 'back-off' && done.name !== 'gpus';
  const told = problem !== undefined && isHook ? [hookFailed(done, problem, nowMs)] : [];
  switch (state.phase) {
    case 'joining':
      return join({ ...state, pauses }, told);
    case 'after':
      // Whoever has ordered a stop gets it as soon as what's this node's own is done.
      if (pause !== undefined && (pause.name !== 'peers' || state.order === undefined))
        return [{ ...state, pauses }, [...told, { do: 'begin-pause', round, pause }]];
      return finish(policy, state.ending, told);
    default:
      return unreachable(state);
  }
}
