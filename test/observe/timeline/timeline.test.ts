import t, { type Test } from 'tap';
import type { EventRecord, LogEnded } from '../../../lib/events/recorder.js';
import type { AgentEvent, WorkerFailure, WorkerIdentity } from '../../../lib/events.js';
import { createTimeline } from '../../../lib/observe/timeline/timeline.js';
import { ownRows, type TraceEvent } from '../../../lib/observe/timeline/trace.js';
import { schemaProblems } from '../schema.js';
import { traceProblems } from './trace-problems.js';

/** Unix time at which this node's CLOCK_MONOTONIC was 0. */
const bootMs = Date.parse('2026-11-30T22:00:00.000Z');

type Of<Name extends AgentEvent['event']> = Extract<AgentEvent, { event: Name }>;

interface Head {
  readonly node?: string;
  readonly runId?: string;
  /** How far the wall's clock is ahead of what it should be. */
  readonly wrongMs?: number;
}

function record(event: AgentEvent, head: Head = {}): EventRecord {
  const { node = 'a', runId = 'r', wrongMs = 0 } = head;
  const time = new Date(bootMs + wrongMs + event.atMs).toISOString();
  return { time, node, runId, ...event };
}

function logEnded(atMs: number, more: Partial<LogEnded> = {}, { node = 'a', runId = 'r' } = {}) {
  const time = new Date(bootMs + atMs).toISOString();
  const end = { event: 'log-ended', records: 1, lostRecords: 0, ...more } as const;
  return { time, node, runId, ...end } satisfies EventRecord;
}

function worker(rank: number, pid = 100 + rank): WorkerIdentity {
  return { rank, localRank: rank, pid };
}

function started(
  atMs: number,
  round = 0,
  ranks: readonly number[] = [0, 1],
  pidsFrom = 100,
): Of<'round-started'> {
  return {
    event: 'round-started',
    round,
    restartCount: round,
    masterAddr: 'm',
    masterPort: 1,
    groupRank: 0,
    groupWorldSize: 1,
    worldSize: ranks.length,
    rendezvousMs: 20,
    atMs,
    workers: ranks.map(rank => worker(rank, pidsFrom + rank)),
  };
}

function exited(
  rank: number,
  atMs: number,
  code: number,
  { durationMs = 100, pid = 100 + rank } = {},
): Of<'worker-exited'> {
  const exit = { how: 'exited', code } as const;
  const identity = worker(rank, pid);
  const rest = { duringStop: false, durationMs, atMs };
  return { event: 'worker-exited', worker: identity, exit, cause: 'own', ...rest };
}

const failure: WorkerFailure = {
  ...worker(1),
  exit: { how: 'exited', code: 3 },
  exitcode: 3,
  cause: 'own',
  duringStop: false,
  durationMs: 100,
  message: 'm',
  traceback: 't',
  timestamp: 1,
  host: 'a',
};

/** The trace of some records, each of which is as the schema has it. */
function traceOf(t: Test, records: readonly EventRecord[], file = 'f'): TraceEvent[] {
  const timeline = createTimeline();
  const events: TraceEvent[] = [];
  for (const each of records) {
    t.strictSame(schemaProblems(each), [], each.event);
    events.push(...timeline.take(file, each));
  }
  events.push(...timeline.end());
  t.strictSame(traceProblems(events), []);
  return events;
}

/** `name from-to` of each slice of a row, in milliseconds since `bootMs`. */
function slices(events: readonly TraceEvent[], tid: number, pid = 1): string[] {
  return events.flatMap(event => {
    if (event.ph !== 'X' || event.tid !== tid || event.pid !== pid) return [];
    const from = event.ts / 1000 - bootMs;
    return [`${event.name} ${from}-${from + event.dur / 1000}`];
  });
}

/** `name at` of each instant of a row; with `!` where it's across all rows. */
function instants(events: readonly TraceEvent[], tid: number, pid = 1): string[] {
  return events.flatMap(event => {
    if (event.ph !== 'i' || event.tid !== tid || event.pid !== pid) return [];
    return [`${event.name} ${event.ts / 1000 - bootMs}${event.s === 'p' ? '!' : ''}`];
  });
}

t.test('a round has its phases on a row of its own, and each worker its life', async t => {
  const events = traceOf(t, [
    record(started(1000)),
    record({ event: 'store-used', round: 0, atMs: 1500 }),
    record(exited(0, 3000, 0, { durationMs: 2010 })),
    record(exited(1, 3100, 0, { durationMs: 2105 })),
    record({ event: 'ended', outcome: 'succeeded', atMs: 3200 }),
    logEnded(3201, { result: { outcome: 'succeeded' } }),
  ]);

  t.strictSame(slices(events, ownRows.rounds), [
    'round 0 970-3100',
    'rendezvous 970-990',
    'start 990-1000',
    'running 1000-3100',
    'script 1000-1500',
  ]);
  t.strictSame(slices(events, 0), ['round 0: succeeded 990-3000']);
  t.strictSame(slices(events, 1), ['round 0: succeeded 995-3100']);
  t.strictSame(instants(events, ownRows.rounds), ['ended: succeeded 3200!']);
  t.strictSame(instants(events, ownRows.events), ['the run has succeeded 3201']);
});

t.test(
  'a restart names the culprit, and has its phases, which the next round begins with',
  async t => {
    const events = traceOf(t, [
      record(started(1000)),
      record({
        event: 'worker-dying',
        worker: worker(1),
        exit: failure.exit,
        durationMs: 1000,
        duringStop: false,
        atMs: 2000,
      }),
      record({ event: 'stopping', reason: 'failure', signal: 'SIGTERM', graceMs: 5, atMs: 2001 }),
      record({
        ...exited(0, 2030, 0, { durationMs: 1040 }),
        exit: { how: 'signaled', signal: 'SIGTERM', signalNumber: 15, coreDumped: false },
        duringStop: true,
        cause: 'stopped-by-us',
      }),
      record(exited(1, 2040, 3, { durationMs: 1045 })),
      record({
        event: 'restarting',
        failure,
        failures: [failure],
        restartsLeft: 0,
        maxRestarts: 1,
        delayMs: 0,
        atMs: 2050,
      }),
      record(started(2100, 1, [0, 1], 200)),
      record({
        event: 'restarted',
        round: 1,
        cause: 'failure',
        totalMs: 150,
        atMs: 2150,
        phases: { noticed: 1, stopped: 49, paused: 10, rendezvous: 25, started: 15, script: 50 },
      }),
      record(exited(0, 4000, 0, { durationMs: 1905, pid: 200 })),
      record(exited(1, 4001, 0, { durationMs: 1905, pid: 201 })),
      logEnded(4002),
    ]);

    t.strictSame(slices(events, ownRows.restarts), [
      'restart (failure) 2000-2150',
      'noticed 2000-2001',
      'stopped 2001-2050',
      'paused 2050-2060',
      'rendezvous 2060-2085',
      'started 2085-2100',
      'script 2100-2150',
    ]);
    t.strictSame(slices(events, ownRows.rounds), [
      'round 0 970-2040',
      'rendezvous 970-990',
      'start 990-1000',
      'running 1000-2001',
      'stopping 2001-2040',
      'round 1 2065-4001',
      'rendezvous 2065-2085',
      'start 2085-2100',
      'running 2100-4001',
    ]);
    t.strictSame(slices(events, 0), [
      'round 0: stopped: was killed by SIGTERM 990-2030',
      'round 1: succeeded 2095-4000',
    ]);
    t.strictSame(slices(events, 1), [
      'round 0: failed: exited with code 3 995-2040',
      'dying 2000-2040',
      'round 1: succeeded 2096-4001',
    ]);
    t.strictSame(instants(events, 1), ['exited with code 3 2000']);
    t.strictSame(instants(events, 0), []);
    const restarting = events.find(({ name }) => name.startsWith('restarting'));
    t.match(restarting, {
      name: 'restarting: worker 1 exited with code 3',
      s: 'p',
      tid: ownRows.rounds,
      args: { culprit: 'worker 1 (local 1, pid 101) on a', restartsLeft: 0, failure: { rank: 1 } },
    });
  },
);

t.test('a round that its agent left without an end lasts to the last record', async t => {
  const events = traceOf(t, [
    record(started(1000)),
    record(exited(1, 1500, 3, { durationMs: 505 })),
    record({ event: 'stopping', reason: 'failure', signal: 'SIGTERM', graceMs: 5, atMs: 1501 }),
  ]);

  t.strictSame(slices(events, 0), ['round 0: no end is recorded 1000-1501']);
  t.strictSame(slices(events, 1), ['round 0: failed: exited with code 3 995-1500']);
  t.strictSame(slices(events, ownRows.rounds).at(0), 'round 0 975-1501');
});

t.test('what follows a killed agent in its file is another run', async t => {
  const round = (number: number) => started(9000, number, [0, 1], 200);
  const first: AgentEvent = { event: 'scheduler-read', scheduler: 'slurm', taken: [], atMs: 8000 };
  const cases: Readonly<Record<string, readonly [runId: string, ...AgentEvent[]]>> = {
    'by its id': ['s', round(1)],
    'by its rounds': ['r', round(0)],
    'by its first event': ['r', first, round(1)],
  };
  for (const [how, [runId, ...next]] of Object.entries(cases)) {
    const events = traceOf(t, [
      record(started(1000)),
      record({ event: 'standbys-ready', pids: [7], atMs: 1700 }),
      ...[
        ...next,
        exited(0, 9500, 0, { durationMs: 510, pid: 200 }),
        exited(1, 9500, 0, { durationMs: 510, pid: 201 }),
      ].map(each => record(each, { runId })),
    ]);

    const [before, after] = slices(events, 0);
    t.equal(before, 'round 0: no end is recorded 1000-1700', how);
    t.match(after, /: succeeded 8990-9500$/, how);
    t.strictSame(slices(events, ownRows.standbys), ['1 standby 1700-1700'], how);
  }
});

t.test("a wall's clock that is set back moves nothing within a run", async t => {
  const events = traceOf(t, [
    record(started(1000)),
    record(exited(0, 61_000, 0, { durationMs: 60_000 }), { wrongMs: -3_600_000 }),
    record(exited(1, 61_000, 0, { durationMs: 60_000 }), { wrongMs: -3_600_000 }),
    logEnded(61_001 - 3_600_000),
  ]);

  t.strictSame(slices(events, 0), ['round 0: succeeded 1000-61000']);
  t.strictSame(instants(events, ownRows.events), ['the run has ended 61001']);
});

t.test('what comes after another boot, or a sleep, is later by the clock on the wall', async t => {
  // The node booted at 100 s: its CLOCK_MONOTONIC began anew.
  const events = traceOf(t, [
    record(started(50_000)),
    record(exited(0, 50_500, 0)),
    record(started(7000, 1, [0], 200), { wrongMs: 100_000 }),
    record(exited(0, 8000, 0, { pid: 200 }), { wrongMs: 100_000 }),
    logEnded(108_001),
  ]);

  t.strictSame(slices(events, 0), [
    'round 0: succeeded 50400-50500',
    'round 1: succeeded 107900-108000',
  ]);
  t.strictSame(slices(events, 1), ['round 0: no end is recorded 50000-50500']);
});

t.test('each node has a number and rows of its own, and what is told of others', async t => {
  const on = { node: 'b' };
  const elsewhere = { ...failure, node: 'b (10.0.0.2)', host: 'b' };
  const events = traceOf(t, [
    record(started(1000)),
    record({ ...started(1010, 0, [2, 3], 300), groupRank: 1 }, on),
    record(exited(3, 1500, 3, { pid: 303 }), on),
    record({ event: 'peer-failed', round: 0, failures: [elsewhere], atMs: 1600 }),
    record({ event: 'round-broken', round: 0, because: 'failed', nodes: ['b'], atMs: 1601 }),
  ]);

  const names = events.filter(({ name }) => name === 'process_name');
  t.match(names, [
    { pid: 1, args: { name: 'a' } },
    { pid: 2, args: { name: 'b' } },
  ]);
  t.strictSame(slices(events, 3, 2), ['round 0: failed: exited with code 3 1400-1500']);
  t.strictSame(slices(events, 3, 1), []);
  t.strictSame(slices(events, 0, 1), ['round 0: no end is recorded 1000-1601']);
  t.strictSame(instants(events, ownRows.rounds), [
    'failed elsewhere: worker 1 on b (10.0.0.2) exited with code 3 1600!',
    'round 0 is over (failed): b 1601!',
  ]);
});

t.test('two files of one node are two rows of names, whichever is read first', async t => {
  const timeline = createTimeline();

  const events = [
    ...timeline.take('one', record(started(1000, 0, [0]))),
    ...timeline.take('two', record(started(1000, 0, [1]))),
    ...timeline.end(),
  ];

  t.strictSame(traceProblems(events), []);
  const names = events.filter(({ name }) => name === 'process_name');
  t.match(names, [{ args: { name: 'a' } }, { args: { name: 'a (two)' } }]);
});

t.test("hangs are on their worker's row, and never reach into each other", async t => {
  const hang = (forMs: number) =>
    ({ worker: worker(1), rule: 'silence', forMs, message: 'no line for long' }) as const;
  const events = traceOf(t, [
    record(started(1000)),
    record({ event: 'hung', hang: hang(5000), action: 'notify', atMs: 4000 }),
    record({ event: 'hung', hang: hang(3000), action: 'dump', atMs: 6000 }),
    record({
      event: 'dumped',
      files: [],
      summary: 'rank 1 in __next__',
      lacksPySpy: false,
      culprit: worker(0),
      because: 'it is',
      atMs: 6100,
    }),
    record({
      event: 'timer-expired',
      worker: worker(1),
      scope: 'train.py#42',
      atMs: 6200,
    }),
    record(exited(0, 7000, 0)),
    record(exited(1, 7000, 0, { durationMs: 6000 })),
  ]);

  t.strictSame(slices(events, 1), [
    'round 0: succeeded 1000-7000',
    'hangs (silence) 1000-4000',
    'hangs (silence) 4000-6000',
  ]);
  t.strictSame(instants(events, 1), ['timer-expired 6200']);
  t.strictSame(instants(events, ownRows.rounds), [
    'worker 1 hangs: no line for long 4000!',
    'worker 1 hangs: no line for long 6000!',
    'worker 0 keeps the others waiting 6100!',
  ]);
});

t.test('standbys wait from when they are ready to when they are taken', async t => {
  const events = traceOf(t, [
    record({ event: 'standbys-ready', pids: [7], atMs: 1000 }),
    record({ event: 'standbys-ready', pids: [7, 8], atMs: 1100 }),
    record({ event: 'standbys-taken', round: 1, atMs: 1500 }),
    record({ event: 'standbys-ready', pids: [9], atMs: 1600 }),
    record({ event: 'standby-trouble', reason: 'no memory', atMs: 1700 }),
  ]);

  t.strictSame(slices(events, ownRows.standbys), [
    '1 standby 1000-1100',
    '2 standbys 1100-1500',
    '1 standby 1600-1700',
  ]);
  t.strictSame(instants(events, ownRows.standbys), [
    'taken for round 1 1500',
    'standby-trouble 1700',
  ]);
});

t.test('a notice of preemption lasts until the run ends; other events are moments', async t => {
  const events = traceOf(t, [
    record({ event: 'preempting', by: 'file', reaches: 'workers', atMs: 1000 }),
    record({ event: 'server-gone', endpoint: 'h:1', limitMs: 5, atMs: 1100 }),
    record({ event: 'hook-failed', hook: 'pre-stop', round: 0, reason: 'code 1', atMs: 1200 }),
    logEnded(1201, { error: { message: 'no more' } }),
  ]);

  t.strictSame(slices(events, ownRows.events), ['notice of preemption (file) 1000-1200']);
  t.strictSame(instants(events, ownRows.rounds), ['notice of preemption (file) 1000!']);
  t.strictSame(instants(events, ownRows.events), [
    'server-gone 1100!',
    'hook-failed 1200',
    'the agent has failed: no more 1201',
  ]);
});

t.test('the end of a worker whose round never began is drawn by itself', async t => {
  const events = traceOf(t, [record(exited(0, 1500, 3, { durationMs: 40 }))]);

  t.strictSame(slices(events, 0), ['failed: exited with code 3 1460-1500']);
});
