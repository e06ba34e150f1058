import type { WorkerFailure, WorkerIdentity } from '../../events.js';
import { describeExit, isSuccess } from '../../worker-exit.js';
import type { RecordOf } from './instants.js';
import { instant, ownRows, type Row, slice, type TraceArgs, type TraceEvent } from './trace.js';

/** The rows of a node's rounds and of its workers. All times are Unix times in milliseconds. */
export interface RoundRows {
  /** The number of the present round, which may have ended; absent before the first. */
  present(): number | undefined;
  /** Behind `close`. */
  started(record: RecordOf<'round-started'>, atMs: number): void;
  used(record: RecordOf<'store-used'>, atMs: number): void;
  stopping(record: RecordOf<'stopping'>, atMs: number): void;
  dying(record: RecordOf<'worker-dying'>, atMs: number): void;
  hung(record: RecordOf<'hung'>, atMs: number): void;
  exited(record: RecordOf<'worker-exited'>, atMs: number): TraceEvent[];
  /** A restart whose phases are known: how long the start of the present round's workers took. */
  restarted(record: RecordOf<'restarted'>): void;
  /** Ends the present round; workers whose end no record tells at `lastMs`. */
  close(lastMs: number): TraceEvent[];
}

interface OpenRound {
  readonly record: RecordOf<'round-started'>;
  readonly startedMs: number;
  readonly workers: ReadonlyMap<number, OpenWorker>;
  /** Duration of the workers' start, from the round's being given. */
  startMs?: number;
  /** When the first of its workers was started, as far as their ends have told. */
  firstExecMs?: number;
  usedMs?: number;
  stop?: { readonly atMs: number; readonly args: TraceArgs };
}

interface OpenWorker {
  readonly identity: WorkerIdentity;
  dyingMs?: number;
  readonly hangs: Hanging[];
  endMs?: number;
}

interface Hanging extends Pick<RecordOf<'hung'>, 'hang' | 'action'> {
  readonly fromMs: number;
  readonly toMs: number;
}

export function roundRows(pid: number): RoundRows {
  const row: Row = { pid, tid: ownRows.rounds };
  let open: OpenRound | undefined;
  /** Until when the row of the rounds is taken: rounds don't overlap. */
  let takenUntilMs = Number.NEGATIVE_INFINITY;
  /** The same of each rank's. */
  const ranksTakenUntilMs = new Map<number, number>();

  function workerOf({ rank, pid: its }: WorkerIdentity): OpenWorker | undefined {
    const worker = open?.workers.get(rank);
    const isIt = worker?.identity.pid === its && worker.endMs === undefined;
    return isIt ? worker : undefined;
  }

  /** What a worker's row has of its life. */
  function life(
    identity: WorkerIdentity,
    span: { readonly fromMs: number; readonly toMs: number },
    how: string,
    args: TraceArgs,
  ): TraceEvent[] {
    const { rank, localRank, pid: its } = identity;
    const fromMs = Math.max(span.fromMs, ranksTakenUntilMs.get(rank) ?? span.fromMs);
    const worker = workerOf(identity);
    const name = open !== undefined && worker !== undefined ? `round ${open.record.round}: ` : '';
    ranksTakenUntilMs.set(rank, span.toMs);
    const at: Row = { pid, tid: rank };
    const all = { rank, localRank, pid: its, ...args };
    const events = [slice(at, `${name}${how}`, { ...span, fromMs }, all)];
    for (const { hang, action, ...hung } of worker?.hangs ?? [])
      events.push(slice(at, `hangs (${hang.rule})`, hung, { message: hang.message, action }));
    if (worker?.dyingMs !== undefined)
      events.push(slice(at, 'dying', { fromMs: worker.dyingMs, toMs: span.toMs }));
    if (worker !== undefined) worker.endMs = span.toMs;
    return events;
  }

  return {
    present: () => open?.record.round,
    started(record, atMs) {
      const workers = new Map(
        record.workers.map(identity => [identity.rank, { identity, hangs: [] }]),
      );
      open = { record, startedMs: atMs, workers };
    },
    used({ round }, atMs) {
      if (open?.record.round === round) open.usedMs ??= atMs;
    },
    stopping({ reason, signal, graceMs }, atMs) {
      if (open !== undefined && isLive(open))
        open.stop ??= { atMs, args: { reason, signal, graceMs } };
    },
    dying({ worker }, atMs) {
      const its = workerOf(worker);
      if (its !== undefined) its.dyingMs ??= atMs;
    },
    hung({ hang, action }, atMs) {
      const worker = workerOf(hang.worker);
      // From before its round, or from within another hang, none of its row's is left.
      const notBefore = worker?.hangs.at(-1)?.toMs ?? open?.startedMs ?? atMs - hang.forMs;
      const fromMs = Math.min(atMs, Math.max(atMs - hang.forMs, notBefore));
      worker?.hangs.push({ fromMs, toMs: atMs, hang, action });
    },
    exited({ worker, exit, durationMs, cause, duringStop }, atMs) {
      const fromMs = atMs - durationMs;
      const its = workerOf(worker);
      if (open !== undefined && its !== undefined)
        open.firstExecMs = Math.min(fromMs, open.firstExecMs ?? fromMs);
      const diedMs = its?.dyingMs ?? atMs;
      const says = describeExit(exit);
      const args = { exit: says, cause, duringStop };
      const events = life(worker, { fromMs, toMs: atMs }, outcomeOf(exit, cause), args);
      if (isSuccess(exit) || cause === 'stopped-by-us') return events;
      const failed = instant({ pid, tid: worker.rank }, says, { atMs: diedMs }, { cause });
      return [...events, failed];
    },
    restarted({ round, phases }) {
      if (open?.record.round === round && phases.started !== undefined)
        open.startMs = phases.started;
    },
    close(lastMs) {
      if (open === undefined) return [];
      const left = [...open.workers.values()].filter(({ endMs }) => endMs === undefined);
      const { startedMs } = open;
      const cutMs = Math.max(lastMs, startedMs);
      const events = left.flatMap(({ identity }) =>
        life(identity, { fromMs: startedMs, toMs: cutMs }, 'no end is recorded', {}),
      );
      events.push(...phasesOf(open, row, takenUntilMs));
      takenUntilMs = endOf(open);
      open = undefined;
      return events;
    },
  };
}

function isLive({ workers }: OpenRound): boolean {
  return [...workers.values()].some(({ endMs }) => endMs === undefined);
}

/** All of its workers have ended. */
function endOf({ workers, startedMs }: OpenRound): number {
  return Math.max(startedMs, ...[...workers.values()].map(({ endMs }) => endMs ?? startedMs));
}

/** A round with its phases, one behind the other. */
function phasesOf(round: OpenRound, row: Row, fromMs: number): TraceEvent[] {
  const { record, startedMs, startMs, firstExecMs, usedMs, stop } = round;
  const after = (ms: number): number => Math.max(fromMs, Math.min(ms, startedMs));
  const givenMs = after(startMs === undefined ? (firstExecMs ?? startedMs) : startedMs - startMs);
  const readyMs = after(givenMs - record.rendezvousMs);
  const endMs = endOf(round);
  const stopMs = Math.min(endMs, Math.max(startedMs, stop?.atMs ?? endMs));
  const { round: number, runId, restartCount, worldSize, groupRank, groupWorldSize } = record;
  const { masterAddr, masterPort, rendezvousMs } = record;
  const master = { masterAddr, masterPort };
  const args = { runId, restartCount, worldSize, groupRank, groupWorldSize, ...master };
  const phases = [
    slice(row, 'rendezvous', { fromMs: readyMs, toMs: givenMs }, { rendezvousMs }),
    slice(row, 'start', { fromMs: givenMs, toMs: startedMs }),
    slice(row, 'running', { fromMs: startedMs, toMs: stopMs }),
    // Until a worker has used the store: what a script imports, for the most part.
    ...(usedMs === undefined
      ? []
      : [slice(row, 'script', { fromMs: startedMs, toMs: Math.min(stopMs, usedMs) })]),
    ...(stop === undefined
      ? []
      : [slice(row, 'stopping', { fromMs: stopMs, toMs: endMs }, stop.args)]),
  ];
  return [slice(row, `round ${number}`, { fromMs: readyMs, toMs: endMs }, args), ...phases];
}

function outcomeOf(exit: WorkerFailure['exit'], cause: WorkerFailure['cause']): string {
  if (isSuccess(exit)) return 'succeeded';
  const says = describeExit(exit);
  return { own: `failed: ${says}`, hang: `hung: ${says}`, 'stopped-by-us': `stopped: ${says}` }[
    cause
  ];
}
