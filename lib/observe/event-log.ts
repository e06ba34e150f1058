import type { EventRecord, LogEnded, RunEnding } from '../events/recorder.js';
import type { AgentEvent } from '../events.js';
import { shown } from '../util/bytes.js';
import { asciiJson } from './ascii.js';
import type { Counts } from './line-log.js';

/** Where and when records are made. */
export interface RecordHeads {
  readonly node: string;
  readonly runId: string;
  /** Unix time minus CLOCK_MONOTONIC, in milliseconds. */
  unixAheadMs(): number;
}

/** The line of an event, in the words of `lib/events.ts` and in ASCII. */
export function lineOf(event: AgentEvent, { node, runId, unixAheadMs }: RecordHeads): string {
  const time = new Date(event.atMs + unixAheadMs()).toISOString();
  return json({ time, node, runId, ...event });
}

/** The last line of a file, in ASCII. */
export function lastLine(
  ending: RunEnding,
  { written, lost }: Counts,
  heads: RecordHeads,
  nowMs: number,
): string {
  const time = new Date(nowMs + heads.unixAheadMs()).toISOString();
  const { node, runId } = heads;
  const counts = { event: 'log-ended', records: written, lostRecords: lost } as const;
  return json({ time, node, runId, ...counts, ...endOf(ending) });
}

function endOf(ending: RunEnding): Pick<LogEnded, 'result' | 'error'> {
  if ('result' in ending) return { result: ending.result };
  const { code, message } = (ending.error ?? {}) as { code?: unknown; message?: unknown }; // what was thrown may be anything
  return {
    error: {
      ...(typeof code === 'string' ? { code } : {}),
      message: typeof message === 'string' ? message : String(ending.error),
    },
  };
}

function json(record: EventRecord): string {
  const text = JSON.stringify(record, (_, value: unknown) =>
    typeof value === 'string' ? shown(value) : value,
  );
  return asciiJson(text);
}
