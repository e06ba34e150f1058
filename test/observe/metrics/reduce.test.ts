import t from 'tap';
import type { AgentEvent, WorkerExit } from '../../../lib/events.js';
import {
  goodputOf,
  type MetricsState,
  reduceMetrics,
  startMetrics,
} from '../../../lib/observe/metrics/reduce.js';

const worker = (rank: number) => ({ rank, localRank: rank, pid: 100 + rank });

function started(round: number, atMs: number, restartCount = round): AgentEvent {
  return {
    event: 'round-started',
    round,
    restartCount,
    masterAddr: '127.0.0.1',
    masterPort: 1,
    groupRank: 0,
    groupWorldSize: 1,
    worldSize: 2,
    workers: [worker(0), worker(1)],
    rendezvousMs: 20,
    atMs,
  };
}

function exited(rank: number, exit: WorkerExit, atMs: number, duringStop = false): AgentEvent {
  const cause = duringStop ? 'stopped-by-us' : 'own';
  return {
    event: 'worker-exited',
    worker: worker(rank),
    exit,
    durationMs: 1,
    duringStop,
    cause,
    atMs,
  };
}

const code = (number: number): WorkerExit => ({ how: 'exited', code: number });
const stopping = (atMs: number): AgentEvent => ({
  event: 'stopping',
  reason: 'failure',
  signal: 'SIGTERM',
  graceMs: 1,
  atMs,
});
const restarted = (round: number, atMs: number): AgentEvent => ({
  event: 'restarted',
  round,
  cause: 'failure',
  totalMs: 900,
  phases: { noticed: 100, stopped: 200, started: 200, script: 400 },
  atMs,
});

function after(events: readonly AgentEvent[], maxRestarts = 3): MetricsState {
  return events.reduce(
    (state, event) => reduceMetrics(state, event)[0],
    startMetrics(maxRestarts, 1000),
  );
}

t.test('18.2: workers are counted by what they are at', async t => {
  const state = after([started(0, 2000), exited(0, code(0), 2100)]);
  const stopped = after([
    started(0, 2000),
    exited(1, code(3), 2100),
    stopping(2100),
    exited(
      0,
      { how: 'signaled', signal: 'SIGTERM', signalNumber: 15, coreDumped: false },
      2200,
      true,
    ),
  ]);

  t.strictSame([...state.workers.values()], ['succeeded', 'running']);
  t.strictSame([...stopped.workers.values()], ['stopped', 'failed']);
  t.strictSame(stopped.exits, { failed: 1, stopped: 1 });
  t.strictSame(
    [...after([started(0, 2000), exited(0, code(3), 2100), started(1, 3000)]).workers.values()],
    ['running', 'running'],
  );
});

t.test('18.2: the budget is what the job says', async t => {
  t.equal(after([]).restartsLeft, 3);
  t.equal(after([started(0, 2000)]).restartsLeft, 3);
  t.equal(after([started(0, 2000), started(1, 3000)]).restartsLeft, 2);
  // A round of its own without a failure spends none.
  t.equal(after([started(0, 2000), started(1, 3000, 0)]).restartsLeft, 3);
});

t.test('18.2: good time and bad time are together all time', async t => {
  const script = [
    started(0, 2000),
    { event: 'store-used', round: 0, atMs: 2600 } as const,
    exited(1, code(3), 10_000),
    stopping(10_100),
    started(1, 10_500),
    { event: 'store-used', round: 1, atMs: 10_900 } as const,
    restarted(1, 10_900),
  ];
  const moments: readonly (readonly [events: number, nowMs: number, good: number, bad: object])[] =
    [
      [0, 1500, 0, { first_start: 500 }],
      [1, 2400, 400, { first_start: 1000, other: 0 }],
      // Imports weren't training.
      [2, 3000, 400, { first_start: 1600, other: 0 }],
      [4, 10_200, 7400, { first_start: 1600, other: 200 }],
      [5, 10_700, 7600, { first_start: 1600, other: 500 }],
      [
        7,
        12_900,
        9400,
        { first_start: 1600, noticed: 100, stopped: 200, started: 200, script: 400 },
      ],
    ];

  for (const [count, nowMs, good, bad] of moments) {
    const { totalMs, goodMs, badMs } = goodputOf(after(script.slice(0, count)), nowMs);
    t.equal(totalMs, nowMs - 1000);
    t.equal(goodMs, good, `good at ${nowMs}`);
    t.match(badMs, bad, `bad at ${nowMs}`);
  }
});

t.test('18.2: behind a notice the others train on until the last has ended', async t => {
  const notice = { event: 'preempting', by: 'signal', reaches: 'workers', atMs: 2500 } as const;
  const state = after([started(0, 2000), notice, exited(0, code(3), 3000)]);

  t.equal(goodputOf(state, 4000).goodMs, 2000);
  const [over] = reduceMetrics(state, exited(1, code(0), 4500));
  t.equal(goodputOf(over, 9000).goodMs, 2500);
});

t.test('18.2: at the end time stands still', async t => {
  const state = after([
    started(0, 2000),
    exited(0, code(0), 4000),
    exited(1, code(0), 5000),
    { event: 'ended', outcome: 'succeeded', atMs: 5000 },
  ]);

  t.match(goodputOf(state, 99_000), { totalMs: 4000, goodMs: 3000 });
});

t.test('18.2: what is told again is not counted twice', async t => {
  const trouble = (path: string, droppedLines: number): AgentEvent => ({
    event: 'output-trouble',
    worker: worker(0),
    path,
    code: 'ENOSPC',
    droppedLines,
    atMs: 1,
  });

  const { lostLines } = after([trouble('/a', 0), trouble('/a', 7), trouble('/b', 2)]);

  t.strictSame(
    [...lostLines],
    [
      ['/a', 7],
      ['/b', 2],
    ],
  );
});

t.test('18.2: how long things took is told as it happens', async t => {
  const [, rendezvous] = reduceMetrics(after([]), started(0, 2000));
  const [, restart] = reduceMetrics(after([started(0, 2000)]), restarted(1, 3000));

  t.strictSame(rendezvous, [{ of: 'rendezvous', seconds: 0.02 }]);
  t.match(restart, [
    { of: 'restart', cause: 'failure', seconds: 0.9 },
    { of: 'phase', phase: 'noticed', seconds: 0.1 },
    { of: 'phase', phase: 'stopped', seconds: 0.2 },
    { of: 'phase', phase: 'started', seconds: 0.2 },
    { of: 'phase', phase: 'script', seconds: 0.4 },
  ]);
});
