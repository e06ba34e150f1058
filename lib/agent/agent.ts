import { launchError } from '../errors.js';
import type { AgentEvent, RunResult } from '../events.js';
import { passOnErrorFile } from '../failures/own-error-file.js';
import { hangGuard } from '../hangs/guard.js';
import { whereStuck } from '../hangs/kernel-stack.js';
import { native } from '../native/addon.js';
import type { NativeEvent } from '../native/events.js';
import type { NativeStoreReport } from '../native/store.js';
import { placementTrouble } from '../placement/watch.js';
import { everyHost, numericHosts, resolveHosts } from '../store/master-hosts.js';
import { deferred } from '../util/deferred.js';
import { broadcast } from '../util/event-queue.js';
import { randomName } from '../util/random.js';
import { signalNumber } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import type { Job } from '../workers/job.js';
import { hasUsageLimits } from '../workers/limits.js';
import { firstLine } from '../workers/programs.js';
import { startError, startHangs } from '../workers/start-error.js';
import { killAtOnceMs, type Machine, startMachine } from './core.js';
import { troubleOf } from './core-events.js';
import { exitOf } from './native-words.js';
import { type NoticeSources, watchForNotices } from './notice-sources.js';
import { gpuPause } from './pauses/gpus.js';
import { runHook } from './pauses/hooks.js';
import { createPauses, type GpuPauseCall, type HookRun } from './pauses/pauses.js';
import { policyOf } from './policy.js';
import { createRounds } from './rounds.js';
import type { Action, Ending, Happening, HookCall } from './step/state.js';
import { initialState, step } from './step/step.js';

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

/** Performs what `step` decides for one job on this node. Nothing happens before `launch`. */
export function createAgent(job: Job): Agent {
  const { settings } = job;
  const result = deferred<RunResult>();
  const told = broadcast<AgentEvent>({
    droppable: ({ event }) =>
      event === 'output-trouble' || event === 'store-trouble' || event === 'hook-output',
    maxDroppable: maxOutputEvents,
  });
  const happenings: Happening[] = [];
  const pauses = createPauses({ hook: startHook, gpus: startGpuPause });
  const gpus = gpuPause(settings.gpuWaitMs, holders =>
    told.publish({ event: 'gpu-held', holders, atMs: nowMs() }),
  );
  const hookCookie = randomName(24);
  const tables = {
    open: (round: number) => machineNow().openTable(round),
    close: (round: number) => machine?.closeTable(round),
  };
  const rounds = createRounds(job, tables, nowMs);
  const lookUp = new AbortController();
  let hosts = numericHosts(settings.masterAddr);
  let machine: Machine | undefined;
  let busy = false;
  let preemptLimit: NodeJS.Timeout | undefined;
  let noticeSources: NoticeSources | undefined;
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
      case 'prepare-round': {
        const { round, restartCount } = action;
        rounds.prepare(round, restartCount).then(
          () => happen({ event: 'prepared', round }),
          error => happen({ event: 'prepared', round, error }),
        );
        return;
      }
      case 'discard-round':
        rounds.discard(action.round, action.restartCount);
        return;
      case 'start-round':
        startRound(action.round);
        return;
      case 'watch-round':
        guardFromHangs(action.round);
        return;
      case 'unwatch-round':
        rounds.get(action.round)?.hangs?.close();
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
      case 'describe':
        describe(action).catch(giveUp);
        return;
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

  function machineNow(): Machine {
    machine ??= startMachine(job, hosts ?? everyHost, onNativeEvents, onStoreReport);
    return machine;
  }

  function startHook(call: HookCall, over: (problem?: string) => void): HookRun {
    const { supervisor } = machineNow();
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

  function startRound(round: number): void {
    const { plan } = rounds.begin(round);
    const { supervisor, refreshTable } = machineNow();
    refreshTable(round);
    supervisor.startGroup(plan);
  }

  function guardFromHangs(round: number): void {
    const record = rounds.get(round);
    if (settings.hang === undefined || record === undefined) return;
    record.hangs = hangGuard(settings.hang, {
      workers: record.workers,
      plans: record.plan.plans,
      files: record.files,
      path: job.env.PATH,
      disk: rounds.disk,
      slots: () => machine?.slots(round) ?? [],
      nowMs,
      tell: event => told.publish(event),
      onHung: hang => happen({ event: 'hung', round, hang }),
      asGuests,
    });
  }

  function onStoreReport(report: NativeStoreReport): void {
    const atMs = nowMs();
    if (report.report === 'line') {
      told.publish({ event: 'store-trouble', line: report.line, atMs });
      return;
    }
    const { pid, address } = report;
    const worker = [...rounds.all()].flatMap(each => each.workers).find(w => w.pid === pid);
    if (worker !== undefined) told.publish({ event: 'connect-refused', worker, address, atMs });
  }

  /** The first round waits for what the master address means; a stop doesn't. */
  async function lookUpMaster(): Promise<void> {
    // With it a command can end although the name service is still being asked.
    native();
    const { hosts: found, doubt } = await resolveHosts(settings.masterAddr, lookUp.signal);
    hosts = found;
    if (doubt !== undefined) onStoreReport({ report: 'line', line: doubt });
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
        rounds.started(
          record,
          workers.map(worker => worker.identity),
        );
        const { masterPort } = record;
        const { masterAddr } = settings;
        happen({ event: 'started', round, atMs, workers, masterAddr, masterPort });
        if (job.agentStore) machine?.watchRefusals(event.pids);
        tellPlacement(event);
        return;
      }
      case 'start-failed':
        happen({ event: 'start-failed', round, error: startError(event, record.plan, firstLine) });
        return;
      case 'start-hangs':
        giveUp(startHangs(event));
        return;
      case 'dying':
        happen({ event: 'dying', round, atMs, localRank: event.index, exit: exitOf(event.exit) });
        return;
      case 'exited':
        record.hangs?.ended(event.index);
        record.gate?.ended(event.index);
        if (event.usage !== undefined) record.usage.set(event.index, event.usage);
        happen({ event: 'exited', round, atMs, localRank: event.index, exit: exitOf(event.exit) });
        return;
      case 'ended': {
        record.hangs?.close();
        record.gate?.close();
        machine?.watchRefusals([]);
        record.tails = event.tails;
        groupEnded(event).catch(giveUp);
        return;
      }
      case 'unguarded':
      case 'ungrouped':
      case 'output-trouble': {
        const trouble = troubleOf(event, record.workers);
        if (trouble !== undefined) told.publish(trouble);
        return;
      }
      default:
        unreachable(event);
    }
  }

  async function groupEnded(event: Extract<NativeEvent, { event: 'ended' }>): Promise<void> {
    const { group: round, atMs, strays, left } = event;
    // As a rule none is, and then this goes on at once.
    const stuck = event.stuck.length === 0 ? [] : await asGuests(() => whereStuck(event.stuck));
    happen({
      event: 'group-ended',
      round,
      atMs,
      stuck,
      strays,
      left,
      progress: machine?.highestStep(round) ?? 0,
    });
  }

  async function describe({ round, ...end }: Extract<Action, { do: 'describe' }>): Promise<void> {
    const failures = await rounds.describe(round, end);
    happen({ event: 'described', round, failures, chance: Math.random() });
  }

  function finish(ending: Ending): void {
    switch (ending.outcome) {
      case 'error':
        giveUp(ending.error);
        return;
      case 'succeeded':
      case 'stopped':
      case 'preempted':
        end(ending);
        return;
      case 'failed':
        finishFailed(ending).catch(giveUp);
        return;
      default:
        unreachable(ending);
    }
  }

  async function finishFailed(ending: Extract<Ending, { outcome: 'failed' }>): Promise<void> {
    const { round, ...failed } = ending;
    const [rootCause] = ending.failures;
    if (rootCause === undefined)
      throw launchError('ERR_INTERNAL', ['a run failed without a failure']);
    const { errorText } = rounds.get(round) ?? {};
    if (settings.errorFile !== undefined && errorText !== undefined) {
      // As in torchrun the run's result doesn't hang on it.
      const reason = await passOnErrorFile(errorText, rootCause.exitcode, settings.errorFile);
      const atMs = nowMs();
      if (reason !== undefined) told.publish({ event: 'error-file-trouble', reason, atMs });
    }
    end({ ...failed, rootCause });
  }

  function end(outcome: RunResult): void {
    told.publish({ event: 'ended', outcome: outcome.outcome, atMs: nowMs() });
    // The report names them.
    const keepErrorFiles =
      'failures' in outcome &&
      outcome.failures.some(each => each.errorFile !== undefined || each.cause === 'hang');
    const close = (): void => {
      tearDown({ keepErrorFiles }).then(() => result.resolve(outcome), result.reject);
    };
    const shown = machine?.outputShown();
    if (shown === undefined) close();
    else void shown.then(close);
  }

  function giveUp(error: unknown): void {
    state = { phase: 'ended', policy: state.policy };
    pauses.end();
    // If it's a mistake of ours there may be workers still, and whoever hears of it may end at once.
    machine?.supervisor.killAll(killAtOnceMs);
    const reject = (): void => result.reject(error);
    tearDown({ keepErrorFiles: false }).then(reject, reject);
  }

  /** Resolves when nothing is left that somebody would see: who hears of the run's end may end at once. */
  async function tearDown({ keepErrorFiles }: { readonly keepErrorFiles: boolean }): Promise<void> {
    for (const { hangs } of rounds.all()) hangs?.close();
    told.end();
    clearTimeout(preemptLimit);
    lookUp.abort();
    noticeSources?.close();
    const closing = machine?.close();
    await Promise.all([
      // A hook that was killed takes a moment to go.
      pauses.gone(),
      rounds.close(job.redirected || keepErrorFiles),
      // Limits may have moved us into another cgroup. Otherwise the end needn't wait for threads.
      hasUsageLimits(settings) ? closing : undefined,
    ]);
  }

  return {
    result: result.promise,
    events: () => told.subscribe(),
    launch() {
      noticeSources = watchForNotices(settings, by => happen({ event: 'notice', by }));
      const begin = (): void => {
        happen({ event: 'launch' });
        noticeSources?.look();
      };
      if (hosts !== undefined) begin();
      else
        void lookUpMaster().then(begin, error => {
          // Whoever has stopped the run needs no address any more.
          if (state.phase === 'idle') giveUp(error);
        });
    },
    preempt: by => happen({ event: 'notice', by }),
    forward: signal => happen({ event: 'forward', signal }),
    stop(by, signal) {
      // Nothing is left to be stopped then, but a wait for whoever reads the workers' output.
      if (state.phase === 'ended') machine?.hurryOutput();
      happen({ event: 'stop', by, ...(signal === undefined ? {} : { signal }) });
    },
    runFolder: rounds.runFolder,
  };
}

/** The addon's clock. Before it's loaded nothing has happened that could be compared with. */
function nowMs(): number {
  return native().monotonicMs();
}
