import { launchError } from '../../errors.js';
import type { AgentEvent, LeftProcess, WorkerFailure } from '../../events.js';
import { isFailed, wordsOf } from '../../failures/failure.js';
import { emptyLedger, type Judgement, judge } from '../../failures/policy.js';
import { unreachable } from '../../util/unreachable.js';
import { withHung } from './exits.js';
import { aboutEnd, hookCalls, hookFailed } from './hook-calls.js';
import { discardNext, startRound, whileStarting } from './next-round.js';
import type {
  Action,
  After,
  Before,
  Between,
  Describing,
  Ending,
  GroupStop,
  HookCall,
  Live,
  Of,
  Pause,
  Step,
} from './state.js';
import { endHold, isFailure, livingOf } from './stopping.js';
import { finish } from './transitions.js';

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

  const { policy, restartCount, ledger, workers, notice } = state;
  const stopping = state.phase === 'stopping' ? state : undefined;
  const over: Describing = {
    phase: 'describing',
    policy,
    round,
    restartCount,
    ledger,
    workers,
    exits,
    ...(notice === undefined ? {} : { notice }),
    ...(stopping === undefined ? {} : { stop: stopOf(stopping) }),
    next: stopping?.next ?? 'none',
    end: { atMs, isStuck: stuck.length > 0, progress },
  };
  if (!isDescribed(over)) {
    const [next, actions] = onDescribed(over, { event: 'described', round, failures: [] });
    return [next, [...told, ...actions]];
  }
  const signaled =
    stopping?.signaledAtMs === undefined ? {} : { signaledAtMs: stopping.signaledAtMs };
  // Reading goes on while the rest is done.
  return [over, [{ do: 'describe', round, exits, ...signaled }, ...told]];
}

/** Nobody asks how workers ended where an order has ended them. */
function isDescribed({ exits, stop }: Describing): boolean {
  const isOrdered = stop?.order !== undefined && !isFailure(stop.reason);
  return !isOrdered && exits.some(isFailed);
}

function stopOf({ reason, order, hang, sinceMs }: GroupStop): GroupStop {
  return {
    reason,
    ...(order === undefined ? {} : { order }),
    ...(hang === undefined ? {} : { hang }),
    sinceMs,
  };
}

/** A group's failures are known, the root cause first: what follows is decided by it. */
export function onDescribed(state: Describing, { failures, chance = 0 }: Of<'described'>): Step {
  const { stop, notice, end } = state;
  const unfit = end.isStuck ? ({ nodeUnfit: true } as const) : {};
  const about = aboutRound(state, failures);
  if (stop === undefined) {
    // Without a notice there's no failure among them.
    return failures.length === 0
      ? endRun(state, { outcome: 'succeeded' }, about)
      : endRun(state, { outcome: 'preempted', failures, ...unfit }, about);
  }

  const judgement = isFailure(stop.reason)
    ? judgementOf(state, stop, failures[0], chance)
    : undefined;
  // Without a restart left the failure had decided the outcome before anybody ordered a stop.
  if (judgement?.do === 'fail') {
    const { because, rule } = judgement;
    const why = { because, ...(rule === undefined ? {} : { rule }) };
    return endRun(state, { outcome: 'failed', round: state.round, failures, ...why }, about);
  }
  if (stop.order === undefined && notice !== undefined)
    return endRun(state, { outcome: 'preempted', failures, ...unfit }, about);
  if (stop.order !== undefined || judgement === undefined) {
    // What isn't stopped for a failure is stopped by an order.
    const { by, signal } = stop.order ?? { by: 'caller', signal: 'SIGTERM' };
    return endRun(state, { outcome: 'stopped', by, signal, ...unfit }, about);
  }
  return restart(state, failures, judgement, about);
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

function restart(
  state: Describing,
  failures: readonly WorkerFailure[],
  { ledger, delayMs, rule, windowLeft }: Extract<Judgement, { do: 'restart' }>,
  about: About,
): Step {
  const { policy, round, restartCount, next, end } = state;
  const { maxRestarts } = policy.failures;
  const [root] = failures;
  const restarting: Action[] =
    root === undefined
      ? []
      : [
          {
            do: 'tell',
            event: {
              event: 'restarting',
              failure: root,
              failures,
              restartsLeft: maxRestarts - ledger.spent,
              maxRestarts,
              delayMs,
              ...(rule === undefined ? {} : { rule }),
              ...(windowLeft === undefined ? {} : { windowLeft }),
              atMs: end.atMs,
            },
          },
        ];
  const pauses: Pause[] = [
    ...pausesAfter(state, about),
    ...(delayMs > 0 ? [{ name: 'back-off', ms: delayMs } as const] : []),
    ...hookCalls(policy, 'pre-start', { ...about, round: round + 1 }),
  ];
  const [pause] = pauses;
  if (pause !== undefined) {
    const between: Between = {
      phase: 'between',
      policy,
      round,
      restartCount,
      failures,
      pauses,
      next,
      nextLedger: ledger,
    };
    return [between, [{ do: 'begin-pause', round, pause }, ...restarting]];
  }
  const coming = { policy, round: round + 1, ledger, failures };
  return whileStarting(startRound(coming, next), restarting);
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

/** A stuck process holds what the next round needs, and no signal frees it. */
function judgementOf(
  state: Describing,
  { sinceMs }: GroupStop,
  root: WorkerFailure | undefined,
  chance: number,
): Judgement | { readonly do: 'fail'; readonly because: 'node-unfit'; readonly rule?: string } {
  const { policy, ledger, round, workers, end } = state;
  if (end.isStuck) return { do: 'fail', because: 'node-unfit' };
  const startedAtMs = Math.min(...workers.map(worker => worker.startedAtMs));
  return judge(policy.failures, ledger, {
    round,
    exit: root?.exit ?? { how: 'unknown' },
    words: root === undefined ? '' : wordsOf(root),
    ranMs: sinceMs - startedAtMs,
    atMs: end.atMs,
    step: end.progress,
    chance,
  });
}

export function onPauseOver(
  state: Before | Between | After,
  { pause: name, problem }: Of<'pause-over'>,
  nowMs: number,
): Step {
  const { policy, round } = state;
  const [done, ...pauses] = state.pauses;
  const [pause] = pauses;
  if (done?.name !== name) return [state, []];
  if (problem !== undefined && done.name === 'pre-start') {
    const error = launchError('ERR_HOOK', [done.name, done.round, problem]);
    const discard = state.phase === 'between' ? discardNext(state) : [];
    return finish(policy, { outcome: 'error', error }, discard);
  }
  const isHook = done.name !== 'back-off' && done.name !== 'gpus';
  const told = problem !== undefined && isHook ? [hookFailed(done, problem, nowMs)] : [];
  switch (state.phase) {
    case 'before': {
      const first = { policy, round: 0, ledger: emptyLedger, failures: [] };
      return whileStarting(startRound(first, 'none'), told);
    }
    case 'between': {
      if (pause !== undefined)
        return [{ ...state, pauses }, [{ do: 'begin-pause', round, pause }, ...told]];
      const { nextLedger: ledger, failures } = state;
      const coming = { policy, round: round + 1, ledger, failures };
      return whileStarting(startRound(coming, state.next), told);
    }
    case 'after':
      if (pause !== undefined)
        return [{ ...state, pauses }, [...told, { do: 'begin-pause', round, pause }]];
      return finish(policy, state.ending, told);
    default:
      return unreachable(state);
  }
}
