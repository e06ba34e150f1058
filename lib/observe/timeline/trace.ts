/**
 * Events of a trace as Perfetto and chrome://tracing open it. Times and durations are whole microseconds of Unix time.
 *
 * @source "Trace Event Format", Google 2016: complete events (X), instants (i), metadata (M)
 */
export type TraceEvent = Slice | Instant | Naming;

/** What explains an event to whoever clicks on it. */
export type TraceArgs = Readonly<Record<string, unknown>>;

/** A row of a trace: a thread, in the format's words. */
export interface Row {
  /** The node: a number of its own in the trace. */
  readonly pid: number;
  /** The worker's global rank, or one of `ownRows`. */
  readonly tid: number;
}

interface Slice extends Row {
  readonly ph: 'X';
  readonly name: string;
  readonly ts: number;
  readonly dur: number;
  readonly args: TraceArgs;
}

interface Instant extends Row {
  readonly ph: 'i';
  readonly name: string;
  readonly ts: number;
  /** Whether it's of its row, or of all rows of the node. */
  readonly s: 't' | 'p';
  readonly args: TraceArgs;
}

interface Naming extends Row {
  readonly ph: 'M';
  readonly name: 'process_name' | 'process_sort_index' | 'thread_name' | 'thread_sort_index';
  readonly args: { readonly name: string } | { readonly sort_index: number };
}

/** A node's rows beside those of its workers. No rank is as high, and they are shown above the ranks. */
export const ownRows = {
  rounds: 1_000_000,
  restarts: 1_000_001,
  standbys: 1_000_002,
  events: 1_000_003,
} as const;
export type OwnRow = keyof typeof ownRows;

/** Something that lasted, from one Unix time in milliseconds to another. */
export function slice(
  row: Row,
  name: string,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  args: TraceArgs = {},
): TraceEvent {
  // Both ends are rounded, so that what follows on each other in milliseconds does so in the trace.
  const ts = microseconds(fromMs);
  const dur = Math.max(0, microseconds(toMs) - ts);
  return { ph: 'X', ...row, name, ts, dur, args };
}

/** Something that happened, on its row or across all of its node. */
export function instant(
  row: Row,
  name: string,
  { atMs, across = false }: { readonly atMs: number; readonly across?: boolean },
  args: TraceArgs = {},
): TraceEvent {
  return { ph: 'i', ...row, name, ts: microseconds(atMs), s: across ? 'p' : 't', args };
}

/** A node's name. Nodes are shown in the order of their numbers. */
export function nameNode(pid: number, name: string): TraceEvent[] {
  const row = { pid, tid: ownRows.rounds };
  return [
    { ph: 'M', ...row, name: 'process_name', args: { name } },
    { ph: 'M', ...row, name: 'process_sort_index', args: { sort_index: pid } },
  ];
}

/** A row's name and place. */
export function nameRow(row: Row, name: string): TraceEvent[] {
  const firstOwn = Math.max(...Object.values(ownRows)) + 1;
  const place = row.tid >= ownRows.rounds ? row.tid - firstOwn : row.tid;
  return [
    { ph: 'M', ...row, name: 'thread_name', args: { name } },
    { ph: 'M', ...row, name: 'thread_sort_index', args: { sort_index: place } },
  ];
}

function microseconds(ms: number): number {
  return Math.round(ms * 1000);
}
