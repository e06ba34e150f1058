import { launchError } from '../errors.js';
import type { AgentEvent, RunResult } from '../events.js';
import {
  createAttempt,
  createRunFolder,
  type RunFolder,
  removeAttempt,
  removeTempBase,
} from '../logs/layout.js';
import { type NativeEvent, type NativeGroupPlan, native } from '../native.js';
import { deferred } from '../util/deferred.js';
import { describeErrno } from '../util/errno.js';
import { broadcast } from '../util/event-queue.js';
import { hostname } from '../util/hostname.js';
import { randomName } from '../util/random.js';
import { signalNumber } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import { inOrderOfReport } from './exits.js';
import { rootCauseOf } from './failures.js';
import { gpuPause } from './gpu-pause.js';
import { hangGuard } from './hang-guard.js';
import { runHook } from './hooks.js';
import { type Job, roundOf, workerPlans } from './job.js';
import { withKernelStacks } from './kernel-stack.js';
import { hasUsageLimits } from './limits.js';
import { killAtOnceMs, type Machine, startMachine } from './machine.js';
import { exitOf } from './native-words.js';
import { type NoticeSources, watchForNotices } from './notice-sources.js';
import { memoryState } from './oom.js';
import { copyErrorFile } from './own-error-file.js';
import { createPauses, type GpuPauseCall, type HookRun } from './pauses.js';
import { placementTrouble } from './placement-watch.js';
import { policyOf } from './policy.js';
import { tailBytes } from './remains.js';
import { describeExits, type RoundRecord, readText, rootCauseForRules } from './round-record.js';
import { startError } from './start-error.js';
import type { Action, Ending, Happening, HookCall } from './state.js';
import { initialState, step } from './step.js';

/** For who holds a pipe of a dead worker. Our own strays are killed before; this bounds strangers. */
const drainMs = 1000;
/** A killed process with tens of gigabytes or a GPU takes seconds to go; torchrun waits as long. */
const killWaitMs = 30_000;
/** Each reader of events may fall this many output events behind before it loses the oldest. */
const maxOutputEvents = 256;

export interface Agent {
  readonly result: Promise<RunResult>;
  events(): AsyncIterable<AgentEvent>;
  launch(): void;
  /** This machine will soon be taken away. */
  preempt(by: 'signal' | 'caller'): void;
  /** Passes a signal on to the workers; it ends nothing. */
  forward(signal: string): void;
  stop(by: 'signal' | 'caller', signal?: string): void;
  /** Where logs and error files are; absent before the launch and where logging is off. */
  runFolder(): string | undefined;
}

/** A round that's ready to start, or why it can't be. */
type Prepared = { readonly round: number } & (
  | { readonly ready: true; readonly plan: NativeGroupPlan }
  | { readonly ready: false; readonly error: unknown }
);

/** Performs what `step` decides for one job on this node. Nothing happens before `launch`. */
export function createAgent(job: Job): Agent {
  const { settings } = job;
  const result = deferred<RunResult>();
  const told = broadcast<AgentEvent>({
    droppable: ({ event }) =>
      event === 'output-trouble' || event === 'store-trouble' || event === 'hook-output',
    maxDroppable: maxOutputEvents,
  });
  const rounds = new Map<number, RoundRecord>();
  const happenings: Happening[] = [];
  const pauses = createPauses({ hook: startHook, gpus: startGpuPause });
  const gpus = gpuPause(settings.gpuWaitMs, holders =>
    told.publish({ event: 'gpu-held', holders, atMs: nowMs() }),
  );
  const hookCookie = randomName(24);
  let machine: Machine | undefined;
  let runFolder: RunFolder | undefined;
  let prepared: Prepared | undefined;
  let busy = false;
  let preemptLimit: NodeJS.Timeout | undefined;
  let noticeSources: NoticeSources | undefined;
  let closed: Promise<void> | undefined;
  let state = initialState(policyOf(settings));

  function happen(happening: Happening): void {
    happenings.push(happening);
    // An action that fails at once happens within the step that ordered it; it waits its turn.
    if (busy) return;
    busy = true;
    try {
      for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
        const [after, actions] = step(state, next, nowMs());
        state = after;
        for (const action of actions) perform(action);
      }
    } catch (error) {
      giveUp(error);
    } finally {
      busy = false;
    }
  }

  function perform(action: Action): void {
    switch (action.do) {
      case 'prepare-round':
        prepared = prepare(action.round, action.restartCount);
        return;
      case 'discard-round':
        discard(action.round, action.restartCount);
        return;
      case 'start-round':
        startRound(action.round, action.restartCount);
        return;
      case 'stop-group':
        machine?.supervisor.stopGroup(action.round, {
          signal: signalNumber(action.signal) ?? 15,
          target: job.signalTarget,
          graceMs: action.graceMs,
          killWaitMs,
        });
        return;
      case 'signal-group':
        machine?.supervisor.signalGroup(
          action.round,
          signalNumber(action.signal) ?? 15,
          job.signalTarget,
        );
        return;
      case 'set-notice':
        machine?.setNotice(action.round, action.notice);
        return;
      case 'arm-preempt-limit': {
        const { round, afterMs } = action;
        preemptLimit = setTimeout(() => happen({ event: 'preempt-limit', round }), afterMs);
        return;
      }
      case 'release-round':
        machine?.closeTable(action.round);
        return;
      case 'tell':
        told.publish(action.event);
        return;
      case 'tell-restarting': {
        const { do: _, round, exits, ...plan } = action;
        const failure = rootCauseOf(describeExits(rounds.get(round), exits, nowMs()));
        rounds.delete(round);
        if (failure !== undefined) told.publish({ event: 'restarting', failure, ...plan });
        return;
      }
      case 'begin-pause': {
        const { round, pause } = action;
        pauses.begin(pause, problem => {
          const why = problem === undefined ? {} : { problem };
          happen({ event: 'pause-over', round, pause: pause.name, ...why });
        });
        return;
      }
      case 'end-pause':
        pauses.end();
        return;
      case 'finish':
        finish(action.ending);
        return;
      default:
        unreachable(action);
    }
  }

  function prepare(round: number, restartCount: number): Prepared {
    try {
      machine ??= startMachine(job, onNativeEvents, onStoreLog);
      runFolder ??= createRunFolder(job.logs, job.runId);
      const files =
        runFolder === undefined
          ? undefined
          : createAttempt(runFolder.path, restartCount, job.localWorldSize);
      const { port: masterPort, local } = machine.openTable(round);
      const cookie = randomName(24);
      const plan: NativeGroupPlan = {
        group: round,
        cookie,
        plans: workerPlans(
          job,
          roundOf(job, { round, restartCount, masterPort, local, cookie }),
          files,
          hostname,
        ),
        tailBytes,
        drainMs,
      };
      rounds.set(round, { files, masterPort, plan, workers: [], usage: new Map(), tails: [] });
      return { round, ready: true, plan };
    } catch (error) {
      return { round, ready: false, error };
    }
  }

  function startHook(call: HookCall, over: (problem?: string) => void): HookRun {
    machine ??= startMachine(job, onNativeEvents, onStoreLog);
    const { supervisor } = machine;
    return runHook(call, over, {
      ...job,
      cookie: hookCookie,
      beginGuest: () => supervisor.beginGuest(hookCookie),
      endGuest: () => supervisor.endGuest(hookCookie),
      onLine: line => told.publish({ event: 'hook-output', hook: call.name, line, atMs: nowMs() }),
    });
  }

  function startGpuPause({ round, strangers }: GpuPauseCall, over: () => void): HookRun {
    const { workers = [], plan } = rounds.get(round) ?? {};
    const pids = workers.map(({ pid }) => pid);
    return gpus.begin({ pids, cookie: plan?.cookie ?? '' }, strangers, over);
  }

  /** As process 1 the core would take the status of Node's children, which wait for it. */
  async function asGuests<T>(body: () => Promise<T>): Promise<T> {
    machine?.supervisor.beginGuest(hookCookie);
    try {
      return await body();
    } finally {
      machine?.supervisor.endGuest(hookCookie);
    }
  }

  function tellPlacement(started: Extract<NativeEvent, { event: 'started' }>): void {
    const { placed } = job;
    const reasons = placed === undefined ? [] : placementTrouble(placed, started);
    for (const reason of reasons) {
      told.publish({ event: 'placement-trouble', reason, atMs: started.atMs });
    }
  }

  function discard(round: number, restartCount: number): void {
    machine?.closeTable(round);
    rounds.delete(round);
    prepared = undefined;
    // Nothing ran there; an attempt that's never been made shouldn't look like one.
    if (runFolder !== undefined) removeAttempt(runFolder.path, restartCount);
  }

  function startRound(round: number, restartCount: number): void {
    const next = prepared?.round === round ? prepared : prepare(round, restartCount);
    prepared = undefined;
    if (!next.ready) {
      happen({ event: 'start-failed', round, error: next.error });
      return;
    }
    machine?.refreshTable(round);
    machine?.supervisor.startGroup(next.plan);
  }

  function guardFromHangs(round: number, record: RoundRecord): void {
    if (settings.hang === undefined) return;
    record.hangs = hangGuard(settings.hang, {
      workers: record.workers,
      plans: record.plan.plans,
      files: record.files,
      path: job.env.PATH,
      slots: () => machine?.slots(round) ?? [],
      nowMs,
      tell: event => told.publish(event),
      onHung: hang => happen({ event: 'hung', round, hang }),
      asGuests,
    });
  }

  function onStoreLog(line: string): void {
    told.publish({ event: 'store-trouble', line, atMs: nowMs() });
  }

  function onNativeEvents(events: readonly NativeEvent[]): void {
    for (const event of events) onNativeEvent(event);
  }

  function onNativeEvent(event: NativeEvent): void {
    const { group: round, atMs } = event;
    const record = rounds.get(round);
    if (record === undefined) return;

    switch (event.event) {
      case 'started': {
        const workers = event.pids.map((pid, localRank) => ({
          identity: { rank: localRank, localRank, pid },
          startedAtMs: event.startedAtMs[localRank] ?? atMs,
        }));
        record.workers = workers.map(worker => worker.identity);
        const { masterPort } = record;
        const { masterAddr } = settings;
        happen({ event: 'started', round, atMs, workers, masterAddr, masterPort });
        record.memory = memoryState(readText);
        guardFromHangs(round, record);
        tellPlacement(event);
        return;
      }
      case 'start-failed':
        happen({ event: 'start-failed', round, error: startError(event, record.plan) });
        return;
      case 'dying':
        happen({ event: 'dying', round, atMs, localRank: event.index, exit: exitOf(event.exit) });
        return;
      case 'exited':
        record.hangs?.ended(event.index);
        if (event.usage !== undefined) record.usage.set(event.index, event.usage);
        happen({ event: 'exited', round, atMs, localRank: event.index, exit: exitOf(event.exit) });
        return;
      case 'ended': {
        record.hangs?.close();
        record.tails = event.tails;
        groupEnded(event, record);
        return;
      }
      case 'unguarded': {
        const { code } = describeErrno(event.errno);
        told.publish({ event: 'unguarded', reason: `${event.syscall}: ${code}`, atMs });
        return;
      }
      case 'ungrouped': {
        const { code } = describeErrno(event.errno);
        const reason = event.path === '' ? 'no hierarchy is mounted' : `${event.path}: ${code}`;
        told.publish({ event: 'ungrouped', reason, atMs });
        return;
      }
      case 'output-trouble': {
        const worker = record.workers[event.index];
        if (worker === undefined) return;
        const { path, droppedLines } = event;
        const { code } = describeErrno(event.errno);
        told.publish({ event: 'output-trouble', worker, path, code, droppedLines, atMs });
        return;
      }
      default:
        unreachable(event);
    }
  }

  async function groupEnded(
    event: Extract<NativeEvent, { event: 'ended' }>,
    record: RoundRecord,
  ): Promise<void> {
    const { group: round, atMs, strays } = event;
    // As a rule none is, and then this goes on at once.
    const stuck =
      event.stuck.length === 0 ? [] : await asGuests(() => withKernelStacks(event.stuck));
    happen({
      event: 'group-ended',
      round,
      atMs,
      stuck,
      strays,
      ...rulesInput(record),
      progress: machine?.highestStep(round) ?? 0,
      chance: Math.random(),
    });
  }

  /** Rules are about the worker that the report will name, and about what it left. */
  function rulesInput(record: RoundRecord): ReturnType<typeof rootCauseForRules> {
    if (settings.failureRules.length === 0 || !('exits' in state)) return {};
    return rootCauseForRules(record, inOrderOfReport(state.exits, state.dying), nowMs());
  }

  function finish(ending: Ending): void {
    switch (ending.outcome) {
      case 'error':
        giveUp(ending.error);
        return;
      case 'succeeded':
        end({ outcome: 'succeeded' });
        return;
      case 'stopped':
        end(ending);
        return;
      case 'preempted':
        end({
          outcome: 'preempted',
          failures: describeExits(rounds.get(ending.round), ending.exits, nowMs()),
          ...(ending.nodeUnfit ? { nodeUnfit: true } : {}),
        });
        return;
      case 'failed': {
        const failures = describeExits(rounds.get(ending.round), ending.exits, nowMs());
        const rootCause = rootCauseOf(failures);
        if (rootCause === undefined) {
          giveUp(launchError('ERR_INTERNAL', ['a run failed without a failure']));
          return;
        }
        // As in torchrun the run's result doesn't hang on it.
        if (settings.errorFile !== undefined) {
          const reason = copyErrorFile(rootCause, settings.errorFile);
          const atMs = nowMs();
          if (reason !== undefined) told.publish({ event: 'error-file-trouble', reason, atMs });
        }
        const { because, rule } = ending;
        const why = { because, ...(rule === undefined ? {} : { rule }) };
        end({ outcome: 'failed', rootCause, failures, ...why });
        return;
      }
      default:
        unreachable(ending);
    }
  }

  function end(outcome: RunResult): void {
    told.publish({ event: 'ended', outcome: outcome.outcome, atMs: nowMs() });
    // The report names them.
    const keepErrorFiles =
      'failures' in outcome &&
      outcome.failures.some(each => each.errorFile !== undefined || each.cause === 'hang');
    tearDown({ keepErrorFiles });
    whenAllIsGone(() => result.resolve(outcome));
  }

  function giveUp(error: unknown): void {
    state = { phase: 'ended', policy: state.policy };
    pauses.end();
    // If it's a mistake of ours there may be workers still, and whoever hears of it may end at once.
    machine?.supervisor.killAll(killAtOnceMs);
    tearDown({ keepErrorFiles: false });
    whenAllIsGone(() => result.reject(error));
  }

  /** Who hears of the run's end may end at once, and a hook that was killed takes a moment to go. */
  function whenAllIsGone(then: () => void): void {
    const waits = [pauses.gone(), closed].filter(wait => wait !== undefined);
    if (waits.length === 0) then();
    else void Promise.all(waits).then(then);
  }

  function tearDown({ keepErrorFiles }: { readonly keepErrorFiles: boolean }): void {
    for (const { hangs } of rounds.values()) hangs?.close();
    told.end();
    clearTimeout(preemptLimit);
    noticeSources?.close();
    const closing = machine?.close();
    // Otherwise nothing is left that somebody would see, and the end needn't wait for threads.
    if (hasUsageLimits(settings)) closed = closing;
    if (runFolder !== undefined && !job.redirected && !keepErrorFiles) removeTempBase(runFolder);
  }

  return {
    result: result.promise,
    events: () => told.subscribe(),
    launch() {
      noticeSources = watchForNotices(settings, by => happen({ event: 'notice', by }));
      happen({ event: 'launch' });
      noticeSources.look();
    },
    preempt: by => happen({ event: 'notice', by }),
    forward: signal => happen({ event: 'forward', signal }),
    stop: (by, signal) =>
      happen({ event: 'stop', by, ...(signal === undefined ? {} : { signal }) }),
    runFolder: () => runFolder?.path,
  };
}

/** The addon's clock. Before it's loaded nothing has happened that could be compared with. */
function nowMs(): number {
  return native().monotonicMs();
}
