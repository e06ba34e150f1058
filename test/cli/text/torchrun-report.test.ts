import t from 'tap';
import { failedLine, failureReport, headline } from '../../../lib/cli/text/torchrun-report.js';
import type { WorkerFailure } from '../../../lib/events.js';
import { duration } from '../../../lib/util/duration.js';

process.env.TZ = 'UTC';

const enableTraceback =
  'To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html';

const exited: WorkerFailure = {
  rank: 0,
  localRank: 0,
  pid: 23192,
  exit: { how: 'exited', code: 4 },
  exitcode: 4,
  cause: 'own',
  duringStop: false,
  durationMs: 12_400,
  message: enableTraceback,
  traceback: enableTraceback,
  timestamp: 1795349226,
  host: 'node-a.example',
};
const crashed: WorkerFailure = {
  ...exited,
  rank: 1,
  localRank: 1,
  pid: 23193,
  exit: { how: 'signaled', signal: 'SIGSEGV', signalNumber: 11, coreDumped: false },
  exitcode: -11,
  traceback: 'Signal 11 (SIGSEGV) received by PID 23193',
};
const raised: WorkerFailure = {
  ...exited,
  rank: 2,
  localRank: 2,
  pid: 23194,
  exit: { how: 'exited', code: 1 },
  exitcode: 1,
  traceback: 'Traceback (most recent call last):\n    File "a.py", line 1\n  ValueError: boom\n  ',
  timestamp: 1795349225,
  errorFile: '/tmp/e.json',
};

// Printed by str(ChildFailedError(…)) of torch 2.13.0, with the clock and the host's name fixed.
const rule = '='.repeat(60);
const line = '-'.repeat(60);
const head = 'torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ';
const exitedBlock = `[0]:
  time      : 2026-11-22_12:07:06
  host      : node-a.example
  rank      : 0 (local_rank: 0)
  exitcode  : 4 (pid: 23192) ${''}
  error_file: <N/A>
  traceback : ${enableTraceback}`;
const crashedBlock = `[1]:
  time      : 2026-11-22_12:07:06
  host      : node-a.example
  rank      : 1 (local_rank: 1)
  exitcode  : -11 (pid: 23193)  (SIGSEGV)
  error_file: <N/A>
  traceback : Signal 11 (SIGSEGV) received by PID 23193`;
const raisedBlock = `[2]:
  time      : 2026-11-22_12:07:05
  host      : node-a.example
  rank      : 2 (local_rank: 2)
  exitcode  : 1 (pid: 23194) ${''}
  error_file: /tmp/e.json
  traceback : Traceback (most recent call last):
    File "a.py", line 1
  ValueError: boom
  ${''}`;

t.test('L-082 one failure, byte for byte', t => {
  t.equal(
    failureReport('both.py', [exited]),
    `${head}
${rule}
both.py FAILED
${line}
Failures:
  <NO_OTHER_FAILURES>
${line}
Root Cause (first observed failure):
${exitedBlock}
${rule}`,
  );
  t.end();
});

t.test(
  'L-082 L-109 several failures are numbered by local rank, and the root cause comes last',
  t => {
    t.equal(
      failureReport('both.py', [raised, crashed, exited]),
      `${head}
${rule}
both.py FAILED
${line}
Failures:
${exitedBlock}
${crashedBlock}
${line}
Root Cause (first observed failure):
${raisedBlock}
${rule}`,
    );
    t.end();
  },
);

t.test('L-088 a survivor that we terminated is listed with -15 and is no root cause', t => {
  const terminated: WorkerFailure = {
    ...exited,
    rank: 5,
    exit: { how: 'signaled', signal: 'SIGTERM', signalNumber: 15, coreDumped: false },
    exitcode: -15,
    cause: 'stopped-by-us',
    duringStop: true,
    traceback: 'Signal 15 (SIGTERM) received by PID 23192',
    timestamp: 1,
  };
  const report = failureReport('a.py', [crashed, terminated]);
  t.match(
    report,
    /Failures:\n\[1\]:\n(.*\n){3} {2}exitcode {2}: -15 \(pid: 23192\) {2}\(SIGTERM\)\n/,
  );
  t.match(report, /Root Cause \(first observed failure\):\n\[0\]:/);
  t.end();
});

t.test('L-083 rules are as long as the longest line, and 60 at most', t => {
  const short = {
    ...exited,
    host: 'n',
    pid: 5,
    exitcode: 1,
    traceback: 'plain\ntext',
    errorFile: '/tmp/e2.json',
  };
  t.match(failureReport('s.py', [short]), /: \n={33}\ns\.py FAILED\n-{33}\n/);
  t.match(failureReport('x'.repeat(80), [short]), /: \n={60}\nx{80} FAILED\n-{60}\n/);
  // Python counts characters, and so do we.
  t.match(failureReport('😀'.repeat(30), [short]), /: \n={37}\n/);
  t.end();
});

t.test('the line before the report names binary or function', t => {
  t.equal(
    failedLine({ ...exited, exitcode: 7, localRank: 1, pid: 10732 }, '/usr/bin/python3'),
    'failed (exitcode: 7) local_rank: 1 (pid: 10732) of binary: /usr/bin/python3',
  );
  t.equal(
    failedLine({ ...exited, exitcode: 1, localRank: 1, pid: 3322 }, 'g', 'spawn'),
    'failed (exitcode: 1) local_rank: 1 (pid: 3322) of fn: g (start_method: spawn)',
  );
  t.end();
});

t.test('the headline says who, how and when', t => {
  t.equal(headline(crashed), 'worker 1 (local 1) was killed by SIGSEGV after 12.4 s');
  t.equal(headline(exited), 'worker 0 (local 0) exited with code 4 after 12.4 s');
  for (const [ms, text] of [
    [0.4, '0 ms'],
    [999, '999 ms'],
    [999.6, '1.0 s'],
    [59_949, '59.9 s'],
    [59_950, '1 min 00 s'],
    [187_000, '3 min 07 s'],
    [7_500_000, '2 h 05 min'],
  ] as const) {
    t.equal(duration(ms), text);
  }
  t.end();
});

t.test('F-H11: times of zones that TZ spells out are local ones', t => {
  process.env.TZ = '<+0530>-5:30';
  t.teardown(() => {
    process.env.TZ = 'UTC';
  });

  t.match(failureReport('train.py', [exited]), /\n {2}time {6}: 2026-11-22_17:37:06\n/);
  t.end();
});
