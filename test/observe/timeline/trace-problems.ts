import type { TraceEvent } from '../../../lib/observe/timeline/trace.js';

type Slice = Extract<TraceEvent, { ph: 'X' }>;

/** What keeps events from being a trace that viewers draw as it's meant; empty: nothing does. */
export function traceProblems(events: readonly TraceEvent[]): readonly string[] {
  const rows = new Map<string, Slice[]>();
  const named = new Set<string>();
  const problems: string[] = [];
  for (const event of events) {
    const row = `${event.pid} ${event.tid}`;
    const says = `${event.name} on ${row}`;
    if (event.ph === 'M') {
      if (event.name === 'thread_name') named.add(row);
      continue;
    }
    if (!named.has(row)) problems.push(`${says}: a row without a name`);
    if (!Number.isSafeInteger(event.ts) || event.ts <= 0) problems.push(`${says}: ts ${event.ts}`);
    if (event.ph === 'i') continue;
    if (!Number.isSafeInteger(event.dur) || event.dur < 0)
      problems.push(`${says}: dur ${event.dur}`);
    rows.set(row, [...(rows.get(row) ?? []), event]);
  }
  for (const slices of rows.values()) problems.push(...overlaps(slices));
  return problems;
}

/** Slices of a row that are neither within each other nor apart, where viewers take the first of those of one time for the outer one. */
function overlaps(slices: readonly Slice[]): string[] {
  const open: Slice[] = [];
  const inOrder = [...slices].sort((one, other) => one.ts - other.ts);
  return inOrder.flatMap(slice => {
    while (open.length > 0 && endOf(open.at(-1)) <= slice.ts) open.pop();
    const around = open.at(-1);
    open.push(slice);
    if (around === undefined || endOf(slice) <= endOf(around)) return [];
    return [`${slice.name} reaches out of ${around.name}`];
  });
}

function endOf(slice: Slice | undefined): number {
  return slice === undefined ? 0 : slice.ts + slice.dur;
}
