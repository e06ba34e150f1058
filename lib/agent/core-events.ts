import type { AgentEvent, WorkerExit, WorkerIdentity } from '../events.js';
import { whereStuck } from '../hangs/kernel-stack.js';
import type { NativeEvent, NativeExit } from '../native/events.js';
import type { NativeStoreReport } from '../native/store.js';
import type { Placing } from '../placement/placing.js';
import { placementTrouble } from '../placement/watch.js';
import { describeErrno } from '../util/errno.js';
import { signalName } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import type { Job } from '../workers/job.js';
import { firstLine } from '../workers/programs.js';
import { startError, startHangs } from '../workers/start-error.js';
import type { Core } from './core.js';
import type { Restarts } from './restarts/restarts.js';
import type { RoundRecord, Rounds } from './rounds.js';
import type { Standbys } from './standbys/standbys.js';
import type { Happening } from './step/state.js';

/** What the core's threads tell, in the agent's words: what happens to it, and what its callers hear at once. */
export interface CoreListener {
  onEvents(events: readonly NativeEvent[]): void;
  onStoreReport(report: NativeStoreReport): void;
}

/** Whom a listener tells, and what it looks at. */
export interface CoreSurroundings {
  readonly rounds: Rounds;
  readonly standbys: Standbys;
  readonly restarts: Restarts;
  /** The addon's threads; absent as long as they haven't been started. */
  core(): Core | undefined;
  happen(happening: Happening): void;
  tell(event: AgentEvent): void;
  /** Where workers run. It's known before the first round. */
  placing(): Placing;
  /** Runs what starts children of Node's: the core takes no status of theirs meanwhile. */
  asGuests<T>(body: () => Promise<T>): Promise<T>;
  nowMs(): number;
  /** The fence has passed, and all workers have been killed. */
  fenced(atMs: number): void;
}

type Of<E extends NativeEvent['event']> = Extract<NativeEvent, { event: E }>;

export function listenToCore(job: Job, around: CoreSurroundings): CoreListener {
  const { rounds, standbys, restarts, core, happen, tell, placing, asGuests, nowMs, fenced } =
    around;

  function onEvent(event: NativeEvent): void {
    if (event.event === 'fenced') {
      // Before the ends of its workers, which follow.
      fenced(event.atMs);
      return;
    }
    if (event.event === 'start-hangs') {
      happen({ event: 'broken', error: startHangs(event) });
      return;
    }
    const { group, atMs } = event;
    const [round, record] = rounds.ofGroup(group) ?? [];
    if (round === undefined || record === undefined) {
      standbys.onEvent(event);
      return;
    }
    // What was told of standbys before they were taken over isn't of the round.
    if (record.cold !== undefined && isEnd(event)) return;

    switch (event.event) {
      case 'started':
        if (record.cold !== undefined && standbys.areAmong(event.pids))
          tell({ event: 'standbys-taken', round, atMs });
        record.cold = undefined;
        onStarted(round, record, event);
        return;
      case 'standby-said':
        if (record.cold !== undefined) standbys.onRefused(event.message);
        return;
      case 'not-taken':
        startCold(record);
        return;
      case 'start-failed':
        record.gate?.close();
        standbys.roundOver();
        happen({ event: 'start-failed', round, error: startError(event, record.plan, firstLine) });
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
      case 'ended':
        record.hangs?.close();
        record.over.abort();
        record.gate?.close();
        core()?.watchRefusals([]);
        record.tails = event.tails;
        standbys.roundOver();
        onEnded(round, event).catch(error => happen({ event: 'broken', error }));
        return;
      case 'unguarded':
      case 'ungrouped':
      case 'output-trouble': {
        const trouble = troubleOf(event, record.workers);
        if (trouble !== undefined) tell(trouble);
        return;
      }
      default:
        unreachable(event);
    }
  }

  /** The standbys are gone: it starts as if there had been none, and what was ordered meanwhile is ordered again. */
  function startCold(record: RoundRecord): void {
    const { cold, stop } = record;
    if (cold === undefined) return;
    const reason = 'they had gone when the round was to take them over';
    tell({ event: 'standby-trouble', reason, atMs: nowMs() });
    record.plan = cold;
    record.cold = undefined;
    core()?.supervisor.startGroup(cold);
    if (stop !== undefined) core()?.supervisor.stopGroup(cold.group, stop);
  }

  function onStarted(round: number, record: RoundRecord, event: Of<'started'>): void {
    const { atMs, pids } = event;
    const workers = pids.map((pid, localRank) => ({
      identity: { rank: record.place.firstRank + localRank, localRank, pid },
      startedAtMs: event.startedAtMs[localRank] ?? atMs,
    }));
    rounds.started(
      record,
      workers.map(worker => worker.identity),
    );
    const { masterAddr, masterPort } = record;
    const rendezvousMs = restarts.rendezvousMs();
    happen({ event: 'started', round, atMs, workers, masterAddr, masterPort, rendezvousMs });
    standbys.roundRuns(record.plan, { round, isLast: isLast(record) });
    if (job.agentStore) core()?.watchRefusals(pids);
    const { placed } = placing();
    const reasons = placed === undefined ? [] : placementTrouble(placed, event);
    for (const reason of reasons) tell({ event: 'placement-trouble', reason, atMs });
  }

  /** As far as it can be told beforehand: rules and windows may spare a restart, and nodes come and go. */
  function isLast({ restartCount }: RoundRecord): boolean {
    const { maxNodes, maxRestarts, failureRules, restartWindow, resetOnProgress } = job.settings;
    const isCounted = failureRules.length === 0 && restartWindow === undefined && !resetOnProgress;
    return maxNodes === 1 && isCounted && restartCount >= maxRestarts;
  }

  async function onEnded(round: number, { atMs, strays, left, ...event }: Of<'ended'>) {
    // As a rule none is, and then this goes on at once.
    const stuck = event.stuck.length === 0 ? [] : await asGuests(() => whereStuck(event.stuck));
    const progress = core()?.highestStep(round) ?? 0;
    happen({ event: 'group-ended', round, atMs, stuck, strays, left, progress });
  }

  return {
    onEvents(events) {
      for (const event of events) onEvent(event);
    },
    onStoreReport(report) {
      const atMs = nowMs();
      if (report.report === 'line') {
        tell({ event: 'store-trouble', line: report.line, atMs });
        return;
      }
      if (report.report === 'used') {
        const round = core()?.roundOf(report.table);
        if (round !== undefined) restarts.used(round, report.atMs);
        return;
      }
      const { pid, address } = report;
      const worker = [...rounds.all()].flatMap(each => each.workers).find(w => w.pid === pid);
      if (worker !== undefined) tell({ event: 'connect-refused', worker, address, atMs });
    },
  };
}

function isEnd({ event }: NativeEvent): boolean {
  return event === 'dying' || event === 'exited' || event === 'ended';
}

function exitOf(exit: NativeExit): WorkerExit {
  if (exit.how !== 'signaled') return exit;
  const { signal: number, coreDumped } = exit;
  const signal = signalName(number) ?? `SIG${number}`;
  return { how: 'signaled', signal, signalNumber: number, coreDumped };
}

/** What the core tells of itself, for people; undefined if it's of a worker that nobody knows. */
function troubleOf(
  event: Of<'unguarded' | 'ungrouped' | 'output-trouble'>,
  workers: readonly WorkerIdentity[],
): AgentEvent | undefined {
  const { atMs } = event;
  const { code } = describeErrno(event.errno);
  switch (event.event) {
    case 'unguarded':
      return { event: 'unguarded', reason: `${event.syscall}: ${code}`, atMs };
    case 'ungrouped': {
      const reason = event.path === '' ? 'no hierarchy is mounted' : `${event.path}: ${code}`;
      return { event: 'ungrouped', reason, atMs };
    }
    case 'output-trouble': {
      const worker = workers[event.index];
      const { path, droppedLines } = event;
      return worker && { event: 'output-trouble', worker, path, code, droppedLines, atMs };
    }
  }
}
