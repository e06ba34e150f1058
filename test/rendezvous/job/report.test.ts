import t from 'tap';
import type { WorkerFailure } from '../../../lib/events.js';
import { forOthers } from '../../../lib/rendezvous/job/report.js';

function failed(rank: number, text: string): WorkerFailure {
  return {
    rank,
    localRank: rank,
    pid: 100 + rank,
    exit: { how: 'exited', code: 1 },
    exitcode: 1,
    cause: 'own',
    duringStop: false,
    durationMs: 1,
    message: text,
    traceback: text,
    timestamp: 0,
    host: 'node-a',
    recorded: text,
    tail: text,
  };
}

function reportOf(failures: readonly WorkerFailure[]) {
  return { round: 1, failures, ranMs: 1, atMs: 1, progress: 0, isStuck: false, chance: 0 };
}

t.test('what others get of a report is small, whatever workers have written', t => {
  const long = `${'start '.repeat(50_000)}${'\u0001'.repeat(4 << 20)}the end`;
  const all = Array.from({ length: 200 }, (_, rank) => failed(rank, long));
  const report = forOthers(reportOf(all));
  t.ok(JSON.stringify(report).length < 1 << 20);
  t.match(report.failures[0]?.message, /^start start /, 'how it began');
  t.match(report.failures[0]?.tail, /the end$/, 'and how it ended');
  t.notOk('tail' in (report.failures[1] ?? {}), 'of the others there is less');
  t.end();
});

t.test('short texts stay as they are, and a cut leaves no half of a character', t => {
  const report = reportOf([failed(0, 'RuntimeError: boom')]);
  t.strictSame(forOthers(report), report);
  const smiles = forOthers(reportOf([failed(0, `x${'😀'.repeat(100_000)}`)]));
  t.notMatch(smiles.failures[0]?.message, /\p{Surrogate}/u);
  t.end();
});
