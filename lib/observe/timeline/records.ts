import type { EventRecord } from '../../events/recorder.js';
import type { WorkerExit } from '../../events.js';

/** The name of an event, as a file of events has it. */
export type EventName = EventRecord['event'];

/** What a line of a file of events gives. */
export type ReadLine =
  | {
      readonly is: 'record';
      readonly record: EventRecord;
      /** It's behind the begin of another one, whose agent was killed while it wrote. */
      readonly isBehindTorn: boolean;
    }
  /** A later release's. */
  | { readonly is: 'unknown-event'; readonly event: string }
  /** JSON, but no event; or one without what a timeline needs of it. */
  | { readonly is: 'no-event' }
  | { readonly is: 'no-json' };

/**
 * Where an event is drawn that isn't drawn in a way of its own: on the row of its worker, if it has one, else on that of
 * events; or across all rows of its node.
 */
export type Mark = 'own-way' | 'on-row' | 'across';

/** All events that this release knows. */
export const marks: Readonly<Record<EventName, Mark>> = {
  'round-started': 'own-way',
  'worker-dying': 'own-way',
  'worker-exited': 'own-way',
  stopping: 'own-way',
  outlasting: 'on-row',
  preempting: 'own-way',
  restarting: 'own-way',
  'store-used': 'own-way',
  restarted: 'own-way',
  'restart-summary': 'on-row',
  'peer-failed': 'own-way',
  'round-broken': 'own-way',
  'node-left-out': 'on-row',
  'server-gone': 'across',
  'server-back': 'across',
  'waiting-for-nodes': 'on-row',
  'joins-torchrun': 'on-row',
  'open-to-all': 'on-row',
  'store-unreachable': 'on-row',
  'node-unreachable': 'on-row',
  'events-trouble': 'on-row',
  'metrics-served': 'on-row',
  'metrics-trouble': 'on-row',
  'scheduler-read': 'on-row',
  hung: 'own-way',
  dumped: 'own-way',
  'standbys-ready': 'own-way',
  'standbys-taken': 'own-way',
  'standby-trouble': 'own-way',
  'imports-not-kept': 'on-row',
  'timer-expired': 'on-row',
  'timers-trouble': 'on-row',
  'door-open': 'on-row',
  'door-trouble': 'on-row',
  'hang-rules-blind': 'on-row',
  'worker-stuck': 'on-row',
  'gpu-held': 'on-row',
  'strays-killed': 'on-row',
  'strays-left': 'on-row',
  'output-trouble': 'on-row',
  'hook-output': 'on-row',
  'hook-failed': 'on-row',
  unguarded: 'on-row',
  ungrouped: 'on-row',
  'placement-trouble': 'on-row',
  'store-trouble': 'on-row',
  'connect-refused': 'on-row',
  'error-file-trouble': 'on-row',
  ended: 'own-way',
  'log-ended': 'own-way',
};

const exitKinds: readonly WorkerExit['how'][] = ['exited', 'signaled', 'unknown'];

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const isNumber: Check = value => typeof value === 'number' && Number.isFinite(value);
const isText: Check = value => typeof value === 'string';
const isWorker = shape({ rank: isNumber, localRank: isNumber, pid: isNumber });
const isExit: Check = value =>
  shape({ how: isText })(value) && exitKinds.some(kind => kind === (value as WorkerExit).how);
/** A worker's row is chosen by what it says. */
const mayHaveWorker = shape({ worker: ifThere(isWorker) });
const isFailure = shape({ rank: isNumber, exit: isExit });

/** What a timeline reads of the events that it draws in a way of their own. */
const needs: Readonly<Partial<Record<EventName, Check>>> = {
  'round-started': shape({ round: isNumber, rendezvousMs: isNumber, workers: listOf(isWorker) }),
  'worker-dying': shape({ worker: isWorker, exit: isExit }),
  'worker-exited': shape({ worker: isWorker, exit: isExit, durationMs: isNumber, cause: isText }),
  stopping: shape({ reason: isText }),
  preempting: shape({ by: isText }),
  restarting: shape({ failure: isFailure }),
  'store-used': shape({ round: isNumber }),
  restarted: shape({ round: isNumber, cause: isText, totalMs: isNumber, phases: shape({}) }),
  'peer-failed': shape({ round: isNumber, failures: listOf(isFailure) }),
  'round-broken': shape({ round: isNumber, because: isText, nodes: listOf(isText) }),
  hung: shape({
    hang: shape({ worker: isWorker, rule: isText, forMs: isNumber, message: isText }),
  }),
  dumped: shape({ summary: isText, culprit: ifThere(isWorker) }),
  'standbys-ready': shape({ pids: listOf(isNumber) }),
  'standbys-taken': shape({ round: isNumber }),
  ended: shape({ outcome: isText }),
  'log-ended': shape({
    lostRecords: isNumber,
    error: ifThere(shape({ message: isText })),
    result: ifThere(shape({ outcome: isText })),
  }),
};

/** How each line begins. */
const opening = '{"time":"';

/** Reads a line of a file of events. */
export function readLine(line: string): ReadLine {
  const whole = readWhole(line);
  const begin = line.lastIndexOf(opening);
  if (whole.is !== 'no-json' || begin <= 0) return whole;
  const second = readWhole(line.slice(begin));
  return second.is === 'record' ? { ...second, isBehindTorn: true } : whole;
}

function readWhole(line: string): ReadLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { is: 'no-json' };
  }
  if (!isHead(value)) return { is: 'no-event' };
  const { event, atMs } = value as Fields & { readonly event: string };
  if (!Object.hasOwn(marks, event)) return { is: 'unknown-event', event };
  const name = event as EventName; // one of the table's own
  const hasTime = name === 'log-ended' || isNumber(atMs);
  const isSound = hasTime && mayHaveWorker(value) && needs[name]?.(value) !== false;
  if (!isSound) return { is: 'no-event' };
  return { is: 'record', record: value as unknown as EventRecord, isBehindTorn: false };
}

const hasHead = shape({ time: isText, node: isText, runId: isText, event: isText });

function isHead(value: unknown): value is Fields {
  return hasHead(value) && Number.isFinite(Date.parse((value as { time: string }).time));
}

function shape(checks: Readonly<Record<string, Check>>): Check {
  return value =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(checks).every(([name, check]) => check((value as Fields)[name]));
}

function ifThere(check: Check): Check {
  return value => value === undefined || check(value);
}

function listOf(check: Check): Check {
  return value => Array.isArray(value) && value.every(check);
}
