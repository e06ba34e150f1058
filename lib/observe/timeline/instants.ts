import type { EventRecord } from '../../events/recorder.js';
import type { WorkerFailure, WorkerIdentity } from '../../events.js';
import { describeExit } from '../../worker-exit.js';
import { marks } from './records.js';
import { instant, type OwnRow, ownRows, type TraceArgs, type TraceEvent } from './trace.js';

export type RecordOf<Name extends EventRecord['event']> = Extract<EventRecord, { event: Name }>;

/** What a moment says: on which row, and whether across all of its node. */
interface Saying {
  readonly on: OwnRow;
  readonly name: string;
  readonly across: boolean;
  readonly args?: TraceArgs;
}

/** The moment that a record tells of, if it's more than the begin or the end of something. Pure. @param atMs of Unix time */
export function instantsOf(record: EventRecord, pid: number, atMs: number): TraceEvent[] {
  const args = argsOf(record);
  if (marks[record.event] !== 'own-way') {
    const tid = 'worker' in record ? record.worker.rank : ownRows.events;
    const across = marks[record.event] === 'across';
    return [instant({ pid, tid }, record.event, { atMs, across }, args)];
  }
  const said = sayingOf(record);
  if (said === undefined) return [];
  const row = { pid, tid: ownRows[said.on] };
  return [instant(row, said.name, { atMs, across: said.across }, { ...args, ...said.args })];
}

/** An event's own fields, and its time as the file has it. */
export function argsOf({ node: _, runId: __, event: ___, ...fields }: EventRecord): TraceArgs {
  return { ...fields };
}

function sayingOf(record: EventRecord): Saying | undefined {
  switch (record.event) {
    case 'restarting': {
      const { failure } = record;
      return across(`restarting: ${wordsOf(failure)}`, culpritOf(failure));
    }
    case 'peer-failed': {
      const [root] = record.failures;
      if (root === undefined) return across('failed elsewhere');
      return across(`failed elsewhere: ${wordsOf(root)}`, culpritOf(root));
    }
    case 'round-broken': {
      const { round, because, nodes } = record;
      return across(`round ${round} is over (${because}): ${nodes.join(', ')}`);
    }
    case 'hung': {
      const { worker, message } = record.hang;
      return across(`worker ${worker.rank} hangs: ${message}`, nameOf(worker));
    }
    case 'dumped': {
      const { culprit } = record;
      if (culprit === undefined) return across('stacks are read');
      return across(`worker ${culprit.rank} keeps the others waiting`, nameOf(culprit));
    }
    case 'preempting':
      return across(noticeOf(record));
    case 'ended':
      return across(`ended: ${record.outcome}`);
    case 'stopping':
      return { on: 'events', name: `stopping (${record.reason})`, across: false };
    case 'standbys-taken':
      return { on: 'standbys', name: `taken for round ${record.round}`, across: false };
    case 'standby-trouble':
      return { on: 'standbys', name: record.event, across: false };
    case 'log-ended':
      return { on: 'events', name: endingOf(record), across: false };
    default:
      return undefined;
  }
}

function across(name: string, culprit?: string): Saying {
  return {
    on: 'rounds',
    name,
    across: true,
    ...(culprit === undefined ? {} : { args: { culprit } }),
  };
}

/** The name of a notice of preemption. */
export function noticeOf({ by }: RecordOf<'preempting'>): string {
  return `notice of preemption (${by})`;
}

function wordsOf({ rank, exit, cause, node }: WorkerFailure): string {
  const where = node === undefined ? '' : ` on ${node}`;
  return `worker ${rank}${where} ${cause === 'hang' ? 'hung' : describeExit(exit)}`;
}

function culpritOf(failure: WorkerFailure): string {
  return `${nameOf(failure)} on ${failure.node ?? failure.host}`;
}

function nameOf({ rank, localRank, pid }: WorkerIdentity): string {
  return `worker ${rank} (local ${localRank}, pid ${pid})`;
}

function endingOf({ result, error }: RecordOf<'log-ended'>): string {
  if (error !== undefined) return `the agent has failed: ${error.message}`;
  return `the run has ${result?.outcome ?? 'ended'}`;
}
