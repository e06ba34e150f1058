import type { EventRecord } from '../../events/recorder.js';
import type { RestartPhases } from '../../events/restarts.js';
import { nodeClock } from './clock.js';
import { argsOf, instantsOf, noticeOf, type RecordOf } from './instants.js';
import { roundRows } from './rounds.js';
import {
  nameRow,
  type OwnRow,
  ownRows,
  type Row,
  slice,
  type TraceArgs,
  type TraceEvent,
} from './trace.js';

/** The rows of a node. */
export interface NodeRows {
  /** Takes a record, in the order of its file. @returns what can be drawn by now */
  take(record: EventRecord): TraceEvent[];
  /** There are no more. @returns what was still open */
  end(): TraceEvent[];
}

/** Something whose end isn't known yet. */
interface Span {
  readonly on: OwnRow;
  readonly sinceMs: number;
  readonly name: string;
  readonly args: TraceArgs;
}

export function nodeRows(pid: number): NodeRows {
  const clock = nodeClock();
  const rounds = roundRows(pid);
  const named = new Set<number>();
  /** Whose records these are; absent: no run is open. */
  let runId: string | undefined;
  /** The latest of the run's times. */
  let lastMs = Number.NEGATIVE_INFINITY;
  let restartsUntilMs = Number.NEGATIVE_INFINITY;
  let standbys: Span | undefined;
  let notice: Span | undefined;

  function own(name: OwnRow): Row {
    return { pid, tid: ownRows[name] };
  }

  function endSpan(span: Span | undefined, toMs: number): TraceEvent[] {
    if (span === undefined) return [];
    return [slice(own(span.on), span.name, { fromMs: span.sinceMs, toMs }, span.args)];
  }

  /** Those that stand by from now on, if any do. */
  function standBy(next: Span | undefined, atMs: number): TraceEvent[] {
    const ended = endSpan(standbys, atMs);
    standbys = next;
    return ended;
  }

  /** Whatever is open: its run has ended, or no more is told of it. */
  function close(): TraceEvent[] {
    if (runId === undefined) return [];
    const events = [
      ...rounds.close(lastMs),
      ...standBy(undefined, lastMs),
      ...endSpan(notice, lastMs),
    ];
    notice = undefined;
    runId = undefined;
    lastMs = Number.NEGATIVE_INFINITY;
    return events;
  }

  /** Whether a record is another agent's than the one before: that one was killed, and has left no end. */
  function isOthers(record: EventRecord): boolean {
    if (runId === undefined) return false;
    const present = rounds.present();
    const isRepeated =
      record.event === 'round-started' && present !== undefined && record.round <= present;
    return record.runId !== runId || record.event === 'scheduler-read' || isRepeated;
  }

  function restarted(record: RecordOf<'restarted'>, atMs: number): TraceEvent[] {
    rounds.restarted(record);
    const events = restartOf(record, atMs, { row: own('restarts'), notBeforeMs: restartsUntilMs });
    restartsUntilMs = Math.max(restartsUntilMs, atMs);
    return events;
  }

  /** What lasts: what a record begins is kept, and what it ends is drawn. */
  function slicesOf(record: EventRecord, atMs: number): TraceEvent[] {
    switch (record.event) {
      case 'round-started': {
        const before = rounds.close(lastMs);
        rounds.started(record, atMs);
        return before;
      }
      case 'store-used':
        rounds.used(record, atMs);
        return [];
      case 'stopping':
        rounds.stopping(record, atMs);
        return [];
      case 'worker-dying':
        rounds.dying(record, atMs);
        return [];
      case 'worker-exited':
        return rounds.exited(record, atMs);
      case 'hung':
        rounds.hung(record, atMs);
        return [];
      case 'restarted':
        return restarted(record, atMs);
      case 'standbys-ready': {
        const { length } = record.pids;
        const name = `${length} ${length === 1 ? 'standby' : 'standbys'}`;
        return standBy({ on: 'standbys', sinceMs: atMs, name, args: argsOf(record) }, atMs);
      }
      case 'standbys-taken':
      case 'standby-trouble':
        return standBy(undefined, atMs);
      case 'preempting':
        notice ??= { on: 'events', sinceMs: atMs, name: noticeOf(record), args: argsOf(record) };
        return [];
      case 'log-ended':
        return close();
      default:
        return [];
    }
  }

  /** Events behind the names of rows that are new. */
  function withNames(events: TraceEvent[]): TraceEvent[] {
    const names = events.flatMap(({ tid }) => {
      if (named.has(tid)) return [];
      named.add(tid);
      return nameRow({ pid, tid }, rowNames.get(tid) ?? `rank ${tid}`);
    });
    return [...names, ...events];
  }

  return {
    take(record) {
      const before = isOthers(record) ? close() : [];
      const atMs = clock.timeOf(record);
      if (runId === undefined) lastMs = atMs;
      runId = record.runId;
      const slices = slicesOf(record, atMs);
      lastMs = Math.max(lastMs, atMs);
      return withNames([...before, ...slices, ...instantsOf(record, pid, atMs)]);
    },
    end: () => withNames(close()),
  };
}

const rowNames: ReadonlyMap<number, string> = new Map(
  Object.entries(ownRows).map(([name, tid]) => [tid, name]),
);

/** The order in which phases of a restart come. */
const phaseNames: readonly (keyof RestartPhases)[] = [
  'noticed',
  'stopped',
  'paused',
  'rendezvous',
  'started',
  'script',
];

/** A restart with its phases, one behind the other; they end at `atMs`. */
function restartOf(
  { cause, round, phases, totalMs }: RecordOf<'restarted'>,
  atMs: number,
  { row, notBeforeMs }: { readonly row: Row; readonly notBeforeMs: number },
): TraceEvent[] {
  const fromMs = Math.min(atMs, Math.max(notBeforeMs, atMs - totalMs));
  const args = { cause, round, totalMs, phases };
  let endMs = atMs - totalMs;
  const inside = phaseNames.flatMap(name => {
    const ms = phases[name];
    if (typeof ms !== 'number') return [];
    const beginMs = Math.max(fromMs, endMs);
    endMs += ms;
    const span = { fromMs: beginMs, toMs: Math.min(atMs, endMs) };
    return span.toMs >= span.fromMs ? [slice(row, name, span)] : [];
  });
  return [slice(row, `restart (${cause})`, { fromMs, toMs: atMs }, args), ...inside];
}
