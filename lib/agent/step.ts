import type { AgentEvent, StopReason } from '../events.js';
import type { GraceReason } from '../options/grace.js';
import { signalNumber } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import {
  confirmed,
  hungFor,
  inOrderOfReport,
  isAmong,
  isSuccess,
  notGoneYet,
  seenExit,
} from './exits.js';
import { emptyLedger, type Judgement, judge, type Ledger, mayRestart } from './failure-policy.js';
import type { Hang } from './hang.js';
import { noticeActions } from './preemption.js';
import type {
  Action,
  AgentState,
  Ending,
  Exit,
  Happening,
  Notice,
  Pause,
  Policy,
  Round,
  StopOrder,
} from './state.js';

/**
 * The life of one worker group, round after round: what follows from what, without doing it.
 * `agent.ts` performs the actions, in their order, and feeds back what happens. A round's group
 * bears the round's number.
 */

type Step = [AgentState, Action[]];

/**
 * The same signal again within this time is the first one, delivered twice: npm, srun and shells
 * forward what a terminal's Ctrl-C has sent to the whole foreground group already. Taken for
 * impatience, it would cost the workers the time to write their checkpoint.
 */
export const echoMs = 100;

/** What hangs doesn't save anything: it gets time to end its children, and no more. */
const hangGraceMs = 5000;

export function initialState(policy: Policy): AgentState {
  return { phase: 'idle', policy };
}

/** @param nowMs CLOCK_MONOTONIC in milliseconds, the clock of all `atMs` */
export function step(state: AgentState, happening: Happening, nowMs: number): Step {
  switch (happening.event) {
    case 'launch':
      return onLaunch(state);
    case 'stop':
      return onStop(state, happening, nowMs);
    case 'notice':
      return onNotice(state, { by: happening.by, atMs: nowMs });
    case 'forward':
      return onForward(state, happening.signal);
    case 'started':
    case 'start-failed':
    case 'dying':
    case 'exited':
    case 'hung':
    case 'group-ended':
    case 'progress':
    case 'pause-over':
    case 'preempt-limit':
      break;
    default:
      return unreachable(happening);
  }

  // Late news of a round that's over.
  if (state.phase === 'idle' || state.phase === 'ended') return [state, []];
  if (happening.round !== state.round) return [state, []];
  if (state.phase === 'between') {
    return happening.event === 'pause-over' ? onPauseOver(state, happening.pause) : [state, []];
  }

  switch (happening.event) {
    // A round starts once, or fails to.
    case 'started':
      return hasStarted(state) ? [state, []] : onStarted(state, happening);
    case 'start-failed':
      return hasStarted(state) ? [state, []] : onStartFailed(state, happening.error);
    case 'dying':
      return onDying(state, happening, nowMs);
    case 'exited':
      return onExited(state, happening, nowMs);
    case 'hung':
      return onHung(state, happening.hang, nowMs);
    case 'group-ended':
      return onGroupEnded(state, happening);
    case 'progress':
      return [{ ...state, step: Math.max(state.step, happening.step) }, []];
    case 'pause-over':
      return [state, []];
    case 'preempt-limit':
      if (state.phase !== 'running' || livingOf(state) === 0) return [state, []];
      return stopFor(state, { reason: 'preempt', signal: 'SIGTERM' }, nowMs);
    default:
      return unreachable(happening);
  }
}

type Live = Extract<AgentState, { phase: 'starting' | 'running' | 'stopping' }>;
type Between = Extract<AgentState, { phase: 'between' }>;
type Stopping = Extract<AgentState, { phase: 'stopping' }>;
type Of<E extends Happening['event']> = Extract<Happening, { event: E }>;

function onLaunch(state: AgentState): Step {
  return state.phase === 'idle' ? startRound(state.policy, 0, emptyLedger) : [state, []];
}

function onStarted(state: Live, { workers, masterAddr, masterPort, atMs }: Of<'started'>): Step {
  const { round, restartCount } = state;
  const told: AgentEvent = {
    event: 'round-started',
    round,
    restartCount,
    masterAddr,
    masterPort,
    workers: workers.map(worker => worker.identity),
    atMs,
  };
  // A stop that came before goes on: the core stops the group as soon as it has started.
  const phase = state.phase === 'starting' ? 'running' : state.phase;
  const next = { ...state, phase, workers } as Live; // `running` adds nothing to `starting`
  const late = phase === 'running' && state.notice !== undefined;
  return [next, [{ do: 'tell', event: told }, ...(late ? noticeActions(next, state.notice) : [])]];
}

function onStartFailed(state: Live, error: unknown): Step {
  const { policy, round } = state;
  // Whoever wanted no workers gets what they wanted.
  const order = state.phase === 'stopping' ? state.order : undefined;
  const ending: Ending =
    order === undefined ? { outcome: 'error', error } : { outcome: 'stopped', ...orderOf(order) };
  return [
    { phase: 'ended', policy },
    [
      { do: 'release-round', round },
      { do: 'finish', ending },
    ],
  ];
}

function onExited(state: Live, { localRank, exit, atMs }: Of<'exited'>, nowMs: number): Step {
  const worker = state.workers[localRank];
  if (worker === undefined || isAmong(state.exits, worker)) return [state, []];

  const noticed = state.dying.find(seen => seen.worker === worker.identity);
  const durationMs = atMs - worker.startedAtMs;
  const seen: Exit =
    noticed === undefined
      ? seenExit(state, worker, exit, atMs)
      : { ...noticed, exit: confirmed(noticed.exit, exit), durationMs };
  const told: Action = {
    do: 'tell',
    event: {
      event: 'worker-exited',
      worker: worker.identity,
      exit: seen.exit,
      durationMs,
      duringStop: seen.duringStop,
      atMs,
    },
  };
  const exits = [...state.exits, seen];
  // The first failure stops the group; those that follow are its echoes, kept for the report only.
  // After a notice each worker saves and ends in its own time; one that's done mustn't stop the others.
  if (state.phase !== 'running' || isSuccess(seen.exit) || state.notice !== undefined)
    return [{ ...state, exits }, [told]];

  return stopForFailure({ ...state, exits }, told, nowMs);
}

function stopForFailure(state: Exclude<Live, Stopping>, told: Action, nowMs: number): Step {
  const [stopped, actions] = stopFor(state, { reason: 'failure', signal: 'SIGTERM' }, nowMs);
  const [first, ...others] = actions;
  // The signal goes first: peers that wait in a collective shouldn't wait for our bookkeeping.
  return [stopped, first?.do === 'stop-group' ? [first, told, ...others] : [told, ...actions]];
}

/** A hang is the failure of one worker, though the process lives: the group ends, and a restart is spent. */
function onHung(state: Live, hang: Hang, nowMs: number): Step {
  const { localRank } = hang.worker;
  // It may have ended while its stacks were written, or another may have failed.
  // After a notice there's a limit already, and no round to come.
  if (state.phase !== 'running' || state.notice !== undefined) return [state, []];
  if (state.exits.some(({ worker }) => worker.localRank === localRank)) return [state, []];
  return stopFor(state, { reason: 'hang', signal: 'SIGTERM', hang }, nowMs);
}

/**
 * A failure stops the group as soon as it's known to come. It's in the report by this time and place;
 * all else waits for the exit itself.
 */
function onDying(state: Live, { localRank, exit, atMs }: Of<'dying'>, nowMs: number): Step {
  const worker = state.workers[localRank];
  // Ends that are well, or of which we know nothing yet, are told soon enough.
  if (worker === undefined || isSuccess(exit) || exit.how === 'unknown') return [state, []];
  if (isAmong(state.exits, worker) || isAmong(state.dying, worker)) return [state, []];

  const seen = seenExit(state, worker, exit, atMs);
  const { durationMs, duringStop } = seen;
  const told: Action = {
    do: 'tell',
    event: {
      event: 'worker-dying',
      worker: worker.identity,
      exit,
      durationMs,
      duringStop,
      atMs,
    },
  };
  const dying = [...state.dying, seen];
  if (state.phase !== 'running' || state.notice !== undefined) return [{ ...state, dying }, [told]];
  return stopForFailure({ ...state, dying }, told, nowMs);
}

function onStop(state: AgentState, { by, signal }: Of<'stop'>, nowMs: number): Step {
  const order: StopOrder = { by, signal: signal ?? 'SIGTERM', atMs: nowMs };
  switch (state.phase) {
    case 'idle':
      return [
        { phase: 'ended', policy: state.policy },
        [{ do: 'finish', ending: { outcome: 'stopped', ...orderOf(order) } }],
      ];
    case 'running':
      // They're all done and well; only their output is being written.
      if (livingOf(state) === 0) return [state, []];
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'starting':
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'stopping':
      return state.order === undefined
        ? joinStop(state, order, nowMs)
        : hurry(state, state.order, { signal, nowMs });
    case 'between':
      return endBetween(state, { outcome: 'stopped', ...orderOf(order) });
    case 'ended':
      return [state, []];
    default:
      return unreachable(state);
  }
}

function endBetween(state: Between, ending: Ending): Step {
  const [pause] = state.pauses;
  return [
    { phase: 'ended', policy: state.policy },
    [
      ...(pause === undefined ? [] : [{ do: 'end-pause', pause: pause.name } as const]),
      ...(state.prepared ? [discardNext(state)] : []),
      { do: 'finish', ending },
    ],
  ];
}

function onNotice(state: AgentState, notice: Notice): Step {
  if (state.phase === 'idle' || state.phase === 'ended') return [state, []];
  if (state.notice !== undefined) return [state, []];

  switch (state.phase) {
    case 'starting':
      return [{ ...state, notice }, []];
    case 'running':
      return livingOf(state) === 0
        ? [state, []]
        : [{ ...state, notice }, noticeActions(state, notice)];
    case 'stopping':
      // Whoever is being stopped saves already. There's no round after this one.
      return [{ ...state, notice, prepared: false }, state.prepared ? [discardNext(state)] : []];
    case 'between': {
      const { round, exits } = state;
      const ending: Ending = {
        outcome: 'preempted',
        round,
        exits: inOrderOfReport(exits, state.dying),
      };
      return endBetween(state, ending);
    }
    default:
      return unreachable(state);
  }
}

/** Workers that haven't exec'd yet have no handler that it could be meant for. */
function onForward(state: AgentState, signal: string): Step {
  if (state.phase !== 'running' && state.phase !== 'stopping') return [state, []];
  if (livingOf(state) === 0) return [state, []];
  return [state, [{ do: 'signal-group', round: state.round, signal }]];
}

/** The first order, while a failure is being dealt with: it ends the run, on the failure's clock. */
function joinStop(state: Stopping, order: StopOrder, nowMs: number): Step {
  const left = Math.max(0, state.killAtMs - nowMs);
  const graceMs = order.signal === 'SIGKILL' ? 0 : Math.min(left, graceOf(state.policy, order.by));
  const discard = state.prepared ? [discardNext(state)] : [];
  const next = {
    ...state,
    order,
    killAtMs: nowMs + graceMs,
    sent: sentWith(state, order.signal),
    prepared: false,
  };
  return [next, [...signalActions(next, order.by, order.signal, graceMs, nowMs), ...discard]];
}

/**
 * A later order. Without a signal it only waits for the end, as the first does. With one, the user
 * wants it to be over now: what's left is killed.
 */
function hurry(
  state: Stopping,
  first: StopOrder,
  { signal, nowMs }: { readonly signal: string | undefined; readonly nowMs: number },
): Step {
  if (signal === undefined || state.killAtMs <= nowMs) return [state, []];
  if (signal === first.signal && nowMs - first.atMs < echoMs) return [state, []];

  const next = { ...state, killAtMs: nowMs };
  return [next, signalActions(next, 'signal', 'SIGKILL', 0, nowMs)];
}

function onGroupEnded(state: Live, happening: Of<'group-ended'>): Step {
  const { policy, round, restartCount } = state;
  const { stuck, strays, atMs } = happening;
  // One that's stuck in the kernel on its way out has failed as well.
  const known = [...state.exits, ...notGoneYet(state)];
  const exits = inOrderOfReport([...known, ...hungFor(state, known, atMs)], state.dying);
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
      : end({ outcome: 'preempted', round, exits });
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
    return end({ outcome: 'preempted', round, exits });
  }
  if (state.order !== undefined || judgement === undefined) {
    // What isn't stopped for a failure is stopped by an order.
    return end({ outcome: 'stopped', ...(state.order ?? { by: 'caller', signal: 'SIGTERM' }) });
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

function onPauseOver(state: Between, name: Pause['name']): Step {
  const [done, ...pauses] = state.pauses;
  if (done?.name !== name) return [state, []];
  const [pause] = pauses;
  return pause === undefined
    ? startRound(state.policy, state.round + 1, state.nextLedger)
    : [{ ...state, pauses }, [{ do: 'begin-pause', round: state.round, pause }]];
}

function discardNext({ round, restartCount }: Round): Action {
  return { do: 'discard-round', round: round + 1, restartCount: restartCount + 1 };
}

/** As many restarts as rounds before it, free ones included: attempts have numbers of their own. */
function startRound(policy: Policy, round: number, ledger: Ledger): Step {
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

function stopFor(
  state: Exclude<Live, Stopping>,
  why: {
    readonly reason: StopReason;
    readonly signal: string;
    readonly order?: StopOrder;
    readonly hang?: Hang;
  },
  nowMs: number,
): Step {
  const { policy, round, restartCount } = state;
  const graceMs = why.signal === 'SIGKILL' ? 0 : graceOf(policy, why.reason);
  const next: Stopping = {
    ...state,
    phase: 'stopping',
    reason: why.reason,
    ...(why.order === undefined ? {} : { order: why.order }),
    ...(why.hang === undefined ? {} : { hang: why.hang }),
    sinceMs: nowMs,
    killAtMs: nowMs + graceMs,
    sent: sentWith(undefined, why.signal),
    prepared: isFailure(why.reason) && mayRestart(policy.failures, state.ledger),
  };
  const prepare: Action[] = next.prepared
    ? [{ do: 'prepare-round', round: round + 1, restartCount: restartCount + 1 }]
    : [];
  // The failed worker may have been the last; then there's nobody to stop and nothing to tell.
  const nobody = state.phase === 'running' && livingOf(state) === notGoneYet(state).length;
  const signals = nobody ? [] : signalActions(next, why.reason, why.signal, graceMs, nowMs);
  return [next, [...signals, ...prepare]];
}

function signalActions(
  { round }: Round,
  reason: StopReason,
  signal: string,
  graceMs: number,
  atMs: number,
): Action[] {
  return [
    { do: 'stop-group', round, signal, graceMs },
    { do: 'tell', event: { event: 'stopping', reason, signal, graceMs, atMs } },
  ];
}

/** Whether it costs a restart. */
function isFailure(reason: StopReason): boolean {
  return reason === 'failure' || reason === 'hang';
}

/** SIGKILL is always among them: the core sends it when the grace period ends. */
function sentWith(state: Stopping | undefined, signal: string): number[] {
  return [...(state?.sent ?? [9]), signalNumber(signal) ?? 15];
}

function graceOf(policy: Policy, reason: GraceReason): number {
  const { graceMs, graceByReasonMs } = policy;
  const given = graceByReasonMs?.[reason];
  return given ?? (reason === 'hang' ? Math.min(hangGraceMs, graceMs) : graceMs);
}

function hasStarted(state: Round): boolean {
  return state.workers.length > 0;
}

function livingOf(state: Round): number {
  return state.workers.length - state.exits.length;
}

function orderOf({ by, signal }: StopOrder): Pick<StopOrder, 'by' | 'signal'> {
  return { by, signal };
}
