import type { Measures, Recorder } from '../events/recorder.js';
import type { AgentEvent, RunResult } from '../events.js';
import { learnGpus } from '../machine/this-machine.js';
import { native } from '../native/addon.js';
import type { Placing } from '../placement/placing.js';
import { everyHost, resolveHosts } from '../store/master-hosts.js';
import { broadcast } from '../util/event-queue.js';
import { randomName } from '../util/random.js';
import { signalNumber } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import type { Job } from '../workers/job.js';
import { type Core, startCore } from './core.js';
import { listenToCore } from './core-events.js';
import { createRunEnd } from './ending.js';
import { rendezvousOf, servedHosts } from './nodes.js';
import { type NoticeSources, watchForNotices } from './notice-sources.js';
import { gpuPause } from './pauses/gpus.js';
import { runHook } from './pauses/hooks.js';
import { createPauses, type GpuPauseCall, type HookRun } from './pauses/pauses.js';
import { policyOf } from './policy.js';
import { createRestarts } from './restarts/restarts.js';
import { createRounds } from './rounds.js';
import { createStandbys } from './standbys/standbys.js';
import type { Action, Happening, HookCall } from './step/state.js';
import { initialState, step } from './step/step.js';
import { createDoors } from './watch/doors.js';
import { watchGrace } from './watch/grace.js';
import { createGuards } from './watch/guards.js';

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
  /** The same, made if it isn't there yet. @throws ERR_LOG_DIR */
  makeRunFolder(): Promise<string | undefined>;
  /** Where workers run; absent as long as their GPUs are being looked for. */
  placing(): Placing | undefined;
  /** What no event tells of it. */
  measure(): Measures;
  /** Tells all who hear of the run's events. */
  tell(event: AgentEvent): void;
}

/**
 * Performs what `step` decides for one job on this node. Nothing happens before `launch`.
 *
 * @param recorder hears of everything, and the run's end waits for it
 */
export function createAgent(job: Job, recorder?: Recorder): Agent {
  const { settings } = job;
  const told = broadcast<AgentEvent>({
    droppable: ({ event }) =>
      event === 'output-trouble' || event === 'store-trouble' || event === 'hook-output',
    maxDroppable: maxOutputEvents,
  });
  const tell = (event: AgentEvent): void => {
    recorder?.event(event);
    told.publish(event);
  };
  const happenings: Happening[] = [];
  const pauses = createPauses({ hook: startHook, gpus: startGpuPause });
  const gpus = gpuPause(settings.gpuWaitMs, holders =>
    tell({ event: 'gpu-held', holders, atMs: nowMs() }),
  );
  const hookCookie = randomName(24);
  const tables = {
    open: (round: number) => coreNow().openTable(round),
    openLocal: (round: number) => coreNow().openLocalTable(round),
    close: (round: number) => core?.closeTable(round),
  };
  const rounds = createRounds(job, { tables, placing: placingNow, nowMs });
  const rendezvous = rendezvousOf(job, { core: coreNow, happen, tell, nowMs });
  const standbys = createStandbys(job, {
    supervisor: () => coreNow().supervisor,
    tell,
    nowMs,
  });
  const restarts = createRestarts(job.agentStore, { tell, nowMs });
  const around = { rounds, standbys, restarts, core: () => core, tell, nowMs };
  const fenced = (atMs: number): void => rendezvous.fenced?.(atMs);
  const listener = listenToCore(job, { ...around, happen, placing: placingNow, asGuests, fenced });
  const guards = createGuards(job, { ...around, happen, asGuests });
  const doors = createDoors(job, { ...around, state: () => state, asGuests, happen, renew });
  const grace = watchGrace({ happen, tell, asGuests });
  const leave = (): Promise<void> | undefined => rendezvous.close?.();
  const record = recorder?.ended;
  const runEnd = createRunEnd(job, { ...around, tell: tellAll, close, leave, record });
  const lookUp = new AbortController();
  let hosts = servedHosts(settings);
  let placing = job.placing;
  let core: Core | undefined;
  let busy = false;
  let preemptLimit: NodeJS.Timeout | undefined;
  let noticeSources: NoticeSources | undefined;
  let state = initialState(policyOf(settings));

  function happen(happening: Happening): void {
    happenings.push(happening);
    // An action that fails at once happens within the step that ordered it; it waits its turn.
    if (busy) return;
    busy = true;
    for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
      try {
        // Perhaps it's the clock that is broken: it's the addon's.
        const now = next.event === 'broken' ? 0 : nowMs();
        const before = state;
        const [after, actions] = step(state, next, now);
        state = after;
        const note = (): void => restarts.note(before, next, [after, actions], now);
        // What a round's end tells of a restart comes before that end, and what its start tells behind it.
        if (next.event !== 'started') note();
        for (const action of actions) perform(action);
        if (next.event === 'started') note();
      } catch (error) {
        // What had been to follow makes no sense any more.
        happenings.length = 0;
        if (state.phase === 'ended') runEnd.finish({ outcome: 'error', error });
        else happenings.push({ event: 'broken', error });
      }
    }
    busy = false;
  }

  function perform(action: Action): void {
    switch (action.do) {
      case 'prepare-round': {
        const { round } = action.plan;
        const guarding = guards.prepare();
        Promise.all([rounds.prepare(action.plan), guarding]).then(
          () => happen({ event: 'prepared', round }),
          error => happen({ event: 'prepared', round, error }),
        );
        return;
      }
      case 'discard-round':
        rounds.discard(action.plan);
        return;
      case 'start-round':
        startRound(action.round);
        return;
      case 'watch-round':
        guards.watch(action.round);
        return;
      case 'unwatch-round':
        rounds.get(action.round)?.hangs?.close();
        return;
      case 'stop-group':
        stopGroup(action);
        return;
      case 'signal-group':
        core?.supervisor.signalGroup(
          groupOf(action.round),
          signalNumber(action.signal) ?? 15,
          job.signalTarget,
        );
        return;
      case 'set-notice':
        standbys.roundOver(); // workers that save have the machine to themselves
        core?.setNotice(action.round, action.notice);
        return;
      case 'arm-preempt-limit': {
        const { round, afterMs } = action;
        preemptLimit = setTimeout(() => happen({ event: 'preempt-limit', round }), afterMs);
        return;
      }
      case 'tell-outlasting': {
        const { round, told } = action;
        const isNews = (): boolean => state.phase === 'stopping' && state.round === round;
        grace.tell(told, isNews).catch(error => happen({ event: 'broken', error }));
        return;
      }
      case 'release-round':
        // Workers of other nodes may outlive these.
        if (!rendezvous.serves?.(action.round)) core?.closeTable(action.round);
        return;
      case 'tell':
        tellAll(action.event);
        return;
      case 'describe':
        describe(action).catch(error => happen({ event: 'broken', error }));
        return;
      case 'announce':
        rendezvous.announce(action.round);
        return;
      case 'report':
        rendezvous.report(action.report);
        return;
      case 'conclude':
        rendezvous.conclude(action.failures);
        return;
      case 'succeed':
        rendezvous.succeed(action.round);
        return;
      case 'leave':
        rendezvous.leave();
        return;
      case 'begin-pause': {
        const { round, pause } = action;
        if (pause.name === 'join') {
          rendezvous.join();
          return;
        }
        // What it waits for was asked by `conclude`.
        if (pause.name === 'peers') return;
        pauses.begin(pause, problem => {
          const why = problem === undefined ? {} : { problem };
          happen({ event: 'pause-over', round, pause: pause.name, ...why });
        });
        return;
      }
      case 'end-pause':
        if (action.pause === 'join') rendezvous.leave();
        else if (action.pause !== 'peers') pauses.end();
        return;
      case 'finish':
        runEnd.finish(action.ending);
        return;
      default:
        unreachable(action);
    }
  }

  function tellAll(event: AgentEvent): void {
    tell(event);
    doors.heard(event);
  }

  function coreNow(): Core {
    core ??= startCore(job, hosts ?? everyHost, listener.onEvents, listener.onStoreReport);
    return core;
  }

  function startHook(call: HookCall, over: (problem?: string) => void): HookRun {
    const { supervisor } = coreNow();
    return runHook(call, over, {
      ...job,
      cookie: hookCookie,
      beginGuest: () => supervisor.beginGuest(hookCookie),
      endGuest: () => supervisor.endGuest(hookCookie),
      onLine: line => tell({ event: 'hook-output', hook: call.name, line, atMs: nowMs() }),
    });
  }

  function startGpuPause({ round, strangers }: GpuPauseCall, over: () => void): HookRun {
    const { workers = [], plan } = rounds.get(round) ?? {};
    const pids = workers.map(({ pid }) => pid);
    return gpus.begin({ pids, cookie: plan?.cookie ?? '' }, strangers, over);
  }

  /** Runs what starts Node's own children: as process 1 the core would take their status, for which they wait. */
  async function asGuests<T>(body: () => Promise<T>): Promise<T> {
    core?.supervisor.beginGuest(hookCookie);
    try {
      return await body();
    } finally {
      core?.supervisor.endGuest(hookCookie);
    }
  }

  function startRound(round: number): void {
    const record = rounds.begin(round);
    const { supervisor, refreshTable } = coreNow();
    refreshTable(round);
    const taken = standbys.take(record.plan);
    if (taken === undefined) {
      supervisor.startGroup(standbys.cold(record.plan));
      return;
    }
    record.cold = record.plan;
    record.plan = taken.plan;
    supervisor.takeOver(taken.plan, taken.orders, taken.answerMs);
  }

  function stopGroup({ round, signal, graceMs }: Extract<Action, { do: 'stop-group' }>): void {
    const stop = {
      signal: signalNumber(signal) ?? 15,
      target: job.signalTarget,
      graceMs,
      killWaitMs,
    };
    const record = rounds.get(round);
    if (record !== undefined) record.stop = stop;
    grace.begin(round, graceMs);
    standbys.roundOver();
    core?.supervisor.stopGroup(groupOf(round), stop);
  }

  function groupOf(round: number): number {
    return rounds.get(round)?.plan.group ?? round;
  }

  function placingNow(): Placing {
    if (placing === undefined) throw new Error('the GPUs of workers are not known yet');
    return placing;
  }

  function tellScheduler(): void {
    const { scheduler } = settings;
    if (scheduler === undefined || state.phase === 'ended') return;
    tell({ event: 'scheduler-read', ...scheduler, atMs: nowMs() });
  }

  /** The first round waits for what isn't known without asking others; a stop doesn't. */
  async function findOut(): Promise<void> {
    await Promise.all([
      hosts === undefined ? lookUpMaster() : undefined,
      placing === undefined ? learnPlacing() : undefined,
    ]);
  }

  async function learnPlacing(): Promise<void> {
    await learnGpus(job.env);
    placing = job.placeLater();
  }

  async function lookUpMaster(): Promise<void> {
    // With it a command can end although the name service is still being asked.
    native();
    const { hosts: found, doubt } = await resolveHosts(settings.masterAddr, lookUp.signal);
    hosts = found;
    if (doubt !== undefined) listener.onStoreReport({ report: 'line', line: doubt });
  }

  /** @returns whether a round that costs no restart takes the place of this one */
  function renew(round: number): boolean {
    rendezvous.renew?.(round);
    return rendezvous.renew !== undefined;
  }

  async function describe({ round, ...end }: Extract<Action, { do: 'describe' }>): Promise<void> {
    const failures = await rounds.describe(round, end);
    happen({ event: 'described', round, failures, chance: Math.random() });
  }

  /** Resolves when nothing is under way any more: a hook that was killed takes a moment to go. */
  function close(): Promise<unknown> {
    pauses.end();
    told.end();
    clearTimeout(preemptLimit);
    grace.close();
    lookUp.abort();
    noticeSources?.close();
    restarts.close();
    return Promise.all([pauses.gone(), standbys.close(), guards.close(), doors.close()]);
  }

  return {
    result: runEnd.result,
    events: () => told.subscribe(),
    launch() {
      noticeSources = watchForNotices(settings, by => happen({ event: 'notice', by }));
      doors.launched();
      const begin = (): void => {
        happen({ event: 'launch' });
        noticeSources?.look();
        // Whoever calls launch() asks for events only then.
        queueMicrotask(tellScheduler);
      };
      const unknown = hosts === undefined || placing === undefined ? findOut() : undefined;
      standbys.launch(unknown, rounds.expected);
      if (unknown === undefined) begin();
      else void unknown.then(begin, error => happen({ event: 'broken', error }));
    },
    preempt: by => happen({ event: 'notice', by }),
    forward: signal => happen({ event: 'forward', signal }),
    stop(by, signal) {
      // Nothing is left to be stopped then, but waits: for whoever reads the workers' output, or the job's end at our store.
      if (state.phase === 'ended') core?.hurry();
      happen({ event: 'stop', by, ...(signal === undefined ? {} : { signal }) });
    },
    runFolder: rounds.runFolder,
    makeRunFolder: rounds.makeRunFolder,
    placing: () => placing,
    measure: () => core?.measure() ?? {},
    tell,
  };
}

/** The addon's clock. Before it's loaded nothing has happened that could be compared with. */
function nowMs(): number {
  return native().monotonicMs();
}
