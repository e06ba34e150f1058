import { hungFor, inOrderOfReport, isSuccess, notGoneYet } from './exits.js';
import { type Judgement, judge, type Ledger } from './failure-policy.js';
import type { Action, Ending, Exit, Pause, Policy, Round } from './state.js';
import {
  type Between,
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
  const told: Action[] = [
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
  const end = (ending: Ending, more: readonly Action[] = []): Step => [
    { phase: 'ended', policy },
    [...told, { do: 'release-round', round }, ...more, { do: 'finish', ending }],
  ];

  if (state.phase !== 'stopping') {
    // A group ends by itself only when all are gone, and a failure would have made us stop it.
    if (livingOf(state) > 0) {
      return end({ outcome: 'error', error: new Error(`round ${round} ended before its workers`) });
    }
    // Without a notice there's no failure among them.
    return exits.every(({ exit }) => isSuccess(exit))
      ? end({ outcome: 'succeeded' })
      : end({ outcome: 'preempted', round, exits, ...unfit });
  }

  const judgement = isFailure(state.reason) ? judgementOf(state, exits, happening) : undefined;
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
  const pauses: Pause[] = delayMs > 0 ? [{ name: 'back-off', ms: delayMs }] : [];
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

/** A stuck process holds what the next round needs, and no signal frees it. */
function judgementOf(
  state: Stopping,
  exits: readonly Exit[],
  { stuck, rootCause, progress = 0, chance = 0, atMs }: Of<'group-ended'>,
): Judgement | { readonly do: 'fail'; readonly because: 'node-unfit'; readonly rule?: string } {
  if (stuck.length > 0) return { do: 'fail', because: 'node-unfit' };
  const root =
    exits.find(({ worker }) => worker.localRank === rootCause?.localRank) ??
    exits.find(({ cause }) => cause === 'hang') ??
    exits.find(({ exit, cause }) => cause === 'own' && !isSuccess(exit)) ??
    exits[0];
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

export function onPauseOver(state: Between, name: Pause['name']): Step {
  const [done, ...pauses] = state.pauses;
  if (done?.name !== name) return [state, []];
  const [pause] = pauses;
  return pause === undefined
    ? startRound(state.policy, state.round + 1, state.nextLedger)
    : [{ ...state, pauses }, [{ do: 'begin-pause', round: state.round, pause }]];
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
