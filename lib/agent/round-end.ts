import { launchError } from '../errors.js';
import { unreachable } from '../util/unreachable.js';
import { hungFor, inOrderOfReport, isSuccess, notGoneYet } from './exits.js';
import { emptyLedger, type Judgement, judge, type Ledger } from './failure-policy.js';
import { aboutEnd, hookCalls, hookFailed } from './hook-calls.js';
import type { Action, Ending, Exit, Pause, Policy, Round } from './state.js';
import {
  type After,
  type Before,
  type Between,
  endHold,
  isFailure,
  type Live,
  livingOf,
  type Of,
  type Step,
  type Stopping,
} from './stopping.js';

/** What follows when no worker of a round is left: another round, perhaps after a pause, or the end. */

export function onGroupEnded(state: Live, happening: Of<'group-ended'>): Step {
  const { policy, round, restartCount } = state;
  const { stuck, strays, atMs } = happening;
  // One that's stuck in the kernel on its way out has failed as well.
  const known = [...state.exits, ...notGoneYet(state)];
  const exits = inOrderOfReport([...known, ...hungFor(state, known, atMs)], state.dying);
  const unfit = stuck.length > 0 ? ({ nodeUnfit: true } as const) : {};
  const hasSucceeded = exits.every(({ exit }) => isSuccess(exit));
  const root = rootOf(exits, happening);
  const about = aboutEnd(state, root, hasSucceeded ? 'success' : 'preempted');
  const isHurried = state.phase === 'stopping' && state.order?.hurried === true;
  const afterRound: Pause[] = [
    ...(policy.waitsForGpus && !isHurried
      ? [{ name: 'gpus', round, strangers: !hasSucceeded } as const]
      : []),
    ...hookCalls(policy, 'post-round', about),
  ];
  const told: Action[] = [
    ...(state.phase === 'stopping' ? endHold(state) : []),
    ...stuck.flatMap(({ localRank, ...where }): Action[] => {
      const worker = state.workers[localRank]?.identity;
      return worker === undefined
        ? []
        : [{ do: 'tell', event: { event: 'worker-stuck', worker, ...where, atMs } }];
    }),
    ...(strays > 0
      ? [{ do: 'tell', event: { event: 'strays-killed', count: strays, atMs } } as const]
      : []),
  ];
  const end = (ending: Ending, more: readonly Action[] = []): Step => {
    const pauses = ending.outcome === 'error' ? [] : afterRound;
    const [pause] = pauses;
    const before: Action[] = [...told, { do: 'release-round', round }, ...more];
    if (pause === undefined)
      return [{ phase: 'ended', policy }, [...before, { do: 'finish', ending }]];
    const after: After = { phase: 'after', policy, round, pauses, ending };
    const order = state.phase === 'stopping' ? state.order : undefined;
    return [
      order === undefined ? after : { ...after, order },
      [...before, { do: 'begin-pause', round, pause }],
    ];
  };

  if (state.phase !== 'stopping') {
    // A group ends by itself only when all are gone, and a failure would have made us stop it.
    if (livingOf(state) > 0) {
      return end({ outcome: 'error', error: new Error(`round ${round} ended before its workers`) });
    }
    // Without a notice there's no failure among them.
    return hasSucceeded
      ? end({ outcome: 'succeeded' })
      : end({ outcome: 'preempted', round, exits, ...unfit });
  }

  const judgement = isFailure(state.reason) ? judgementOf(state, root, happening) : undefined;
  // Without a restart left the failure had decided the outcome before anybody ordered a stop.
  if (judgement?.do === 'fail') {
    const { because, rule } = judgement;
    const ending: Ending = {
      outcome: 'failed',
      round,
      exits,
      because,
      ...(rule === undefined ? {} : { rule }),
    };
    return end(ending, state.prepared ? [discardNext(state)] : []);
  }
  if (state.order === undefined && state.notice !== undefined) {
    return end({ outcome: 'preempted', round, exits, ...unfit });
  }
  if (state.order !== undefined || judgement === undefined) {
    // What isn't stopped for a failure is stopped by an order.
    const { by, signal } = state.order ?? { by: 'caller', signal: 'SIGTERM' };
    return end({ outcome: 'stopped', by, signal, ...unfit });
  }

  const { ledger, delayMs, rule, windowLeft } = judgement;
  const { maxRestarts } = policy.failures;
  const restarting: Action = {
    do: 'tell-restarting',
    round,
    exits,
    restartsLeft: maxRestarts - ledger.spent,
    maxRestarts,
    delayMs,
    ...(rule === undefined ? {} : { rule }),
    ...(windowLeft === undefined ? {} : { windowLeft }),
    atMs,
  };
  const after: Action[] = [{ do: 'release-round', round }, ...told, restarting];
  const pauses: Pause[] = [
    ...afterRound,
    ...(delayMs > 0 ? [{ name: 'back-off', ms: delayMs } as const] : []),
    ...hookCalls(policy, 'pre-start', { ...about, round: round + 1 }),
  ];
  const [first] = pauses;
  if (first !== undefined) {
    const { workers, prepared, step } = state;
    const between: Between = {
      phase: 'between',
      policy,
      round,
      restartCount,
      ledger: state.ledger,
      step,
      workers,
      exits,
      dying: state.dying,
      pauses,
      prepared,
      nextLedger: ledger,
    };
    return [between, [{ do: 'begin-pause', round, pause: first }, ...after]];
  }
  const [next, started] = startRound(policy, round + 1, ledger);
  // New workers first: telling why can wait for the few microseconds.
  return [next, [...started, ...after]];
}

function rootOf(exits: readonly Exit[], { rootCause }: Of<'group-ended'>): Exit | undefined {
  return (
    exits.find(({ worker }) => worker.localRank === rootCause?.localRank) ??
    exits.find(({ cause }) => cause === 'hang') ??
    exits.find(({ exit, cause }) => cause === 'own' && !isSuccess(exit)) ??
    exits[0]
  );
}

/** A stuck process holds what the next round needs, and no signal frees it. */
function judgementOf(
  state: Stopping,
  root: Exit | undefined,
  { stuck, rootCause, progress = 0, chance = 0, atMs }: Of<'group-ended'>,
): Judgement | { readonly do: 'fail'; readonly because: 'node-unfit'; readonly rule?: string } {
  if (stuck.length > 0) return { do: 'fail', because: 'node-unfit' };
  const startedAtMs = Math.min(...state.workers.map(worker => worker.startedAtMs));
  return judge(state.policy.failures, state.ledger, {
    round: state.round,
    exit: root?.exit ?? { how: 'unknown' },
    words: rootCause?.words ?? '',
    ranMs: state.sinceMs - startedAtMs,
    atMs,
    step: Math.max(progress, state.step),
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
    const discard = state.phase === 'between' && state.prepared ? [discardNext(state)] : [];
    const finish: Action = { do: 'finish', ending: { outcome: 'error', error } };
    return [{ phase: 'ended', policy }, [...discard, finish]];
  }
  const isHook = done.name !== 'back-off' && done.name !== 'gpus';
  const told = problem !== undefined && isHook ? [hookFailed(done, problem, nowMs)] : [];
  switch (state.phase) {
    case 'before': {
      const [next, started] = startRound(policy, 0, emptyLedger);
      return [next, [...started, ...told]];
    }
    case 'between': {
      if (pause !== undefined)
        return [{ ...state, pauses }, [{ do: 'begin-pause', round, pause }, ...told]];
      const [next, started] = startRound(policy, round + 1, state.nextLedger);
      return [next, [...started, ...told]];
    }
    case 'after':
      if (pause !== undefined)
        return [{ ...state, pauses }, [...told, { do: 'begin-pause', round, pause }]];
      return [{ phase: 'ended', policy }, [...told, { do: 'finish', ending: state.ending }]];
    default:
      return unreachable(state);
  }
}

export function discardNext({ round, restartCount }: Round): Action {
  return { do: 'discard-round', round: round + 1, restartCount: restartCount + 1 };
}

/** As many restarts as rounds before it, free ones included: attempts have numbers of their own. */
export function startRound(policy: Policy, round: number, ledger: Ledger): Step {
  return [
    {
      phase: 'starting',
      policy,
      round,
      restartCount: round,
      ledger,
      step: 0,
      workers: [],
      exits: [],
      dying: [],
    },
    [{ do: 'start-round', round, restartCount: round }],
  ];
}
