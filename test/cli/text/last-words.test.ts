import t from 'tap';
import { describeOutlasted, describeOutlasting } from '../../../lib/cli/text/last-words.js';
import type { WorkerFailure } from '../../../lib/events.js';

function failed(rank: number, given: Partial<WorkerFailure> = {}): WorkerFailure {
  return {
    ...{ rank, localRank: rank % 2, pid: 100 + rank, exitcode: -9, cause: 'stopped-by-us' },
    ...{ exit: { how: 'signaled', signal: 'SIGKILL', signalNumber: 9, coreDumped: false } },
    ...{ duringStop: true, durationMs: 1, message: '', traceback: '', timestamp: 0, host: 'a' },
    ...given,
  };
}

t.test('MN-21 workers that did not end when told to are named, by their ranks', t => {
  const outlasted = { signal: 'SIGTERM', graceMs: 30_000 };
  const hung = { signal: 'SIGTERM', graceMs: 5_000 };

  t.strictSame(describeOutlasted([failed(1)]), []);
  t.strictSame(
    describeOutlasted([
      failed(0),
      failed(3, { outlasted, node: 'node2 (10.0.0.2)' }),
      failed(1, { outlasted }),
      failed(2, { outlasted: hung, node: 'node2 (10.0.0.2)' }),
    ]),
    [
      'worker 1 (local 1), worker 3 (local 1) on node2 (10.0.0.2) did not end within 30.0 s of SIGTERM, and were killed',
      'worker 2 (local 0) on node2 (10.0.0.2) did not end within 5.0 s of SIGTERM, and was killed',
    ],
  );
  t.end();
});

t.test('MN-73 workers that have not ended yet are named, with where they sleep', t => {
  const about = { event: 'outlasting', signal: 'SIGTERM', forMs: 15_000, leftMs: 15_000 } as const;
  const workers = Array.from({ length: 20 }, (_, rank) => ({ rank, localRank: rank, pid: 7 }));
  const asleep = { rank: 1, localRank: 1, pid: 8, waitChannel: 'futex_do_wait' };

  t.equal(
    describeOutlasting({ ...about, workers: [asleep], atMs: 0 }),
    'worker 1 (local 1, pid 8, in futex_do_wait) has not ended 15.0 s after SIGTERM; SIGKILL follows in 15.0 s',
  );
  t.match(
    describeOutlasting({ ...about, workers, atMs: 0 }),
    /^worker 0 \(local 0, pid 7\), .*worker 15 \(local 15, pid 7\) and 4 more have not ended/,
  );
  t.end();
});

t.test('of very many workers some are named', t => {
  const outlasted = { signal: 'SIGTERM', graceMs: 1_000 };
  const failures = Array.from({ length: 20 }, (_, rank) => failed(rank, { outlasted }));
  t.match(describeOutlasted(failures)[0], /, worker 15 \(local 1\) and 4 more did not end within/);
  t.end();
});
