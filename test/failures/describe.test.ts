import t from 'tap';
import type { WorkerExit } from '../../lib/events.js';
import { describeFailures } from '../../lib/failures/describe.js';
import { parseErrorFile } from '../../lib/failures/error-file.js';
import type { Remains, SeenExit } from '../../lib/failures/failure.js';

/** A second of Unix time, and CLOCK_MONOTONIC's 0. */
const second = 1_795_349_220;
const around = { host: 'node-a', unixAheadMs: second * 1000 };

interface Told {
  /** `4`, or `SIGTERM` where it ended by our signal. */
  readonly how?: number | 'SIGTERM' | 'SIGKILL';
  readonly atMs: number;
  readonly cause?: 'own' | 'hang' | 'stopped-by-us';
  /** When its error file was written, and the second that it names; the same one, as a rule. */
  readonly fileAtMs?: number;
  readonly fileSecond?: number | 'none';
  readonly outOfMemory?: string;
}

/** Ends by local rank, in the order in which they were heard of; what comes after `signaledAtMs` is during the stop. */
function failuresOf(told: readonly (readonly [localRank: number, Told])[], signaledAtMs?: number) {
  const exits = told.map(([localRank, { how = 1, atMs, cause }]): SeenExit => {
    const exit: WorkerExit =
      typeof how === 'number'
        ? { how: 'exited', code: how }
        : {
            how: 'signaled',
            signal: how,
            signalNumber: how === 'SIGTERM' ? 15 : 9,
            coreDumped: false,
          };
    return {
      worker: { rank: localRank, localRank, pid: 100 + localRank },
      exit,
      cause: cause ?? (how === 'SIGTERM' ? 'stopped-by-us' : 'own'),
      duringStop: signaledAtMs !== undefined && atMs > signaledAtMs,
      durationMs: atMs,
      atMs,
    };
  });
  const remains = new Map(
    told.map(([localRank, { fileAtMs, fileSecond, outOfMemory }]): [number, Remains] => {
      const timestamp =
        fileSecond ?? (fileAtMs === undefined ? 'none' : second + Math.floor(fileAtMs / 1000));
      const text = JSON.stringify({
        message: `rank ${localRank}`,
        ...(timestamp === 'none' ? {} : { timestamp }),
      });
      const recorded: Remains['recorded'] =
        fileAtMs === undefined
          ? { file: { kind: 'absent' } }
          : { file: parseErrorFile(text), text, writtenAtMs: second * 1000 + fileAtMs };
      const oom = outOfMemory === undefined ? {} : { outOfMemory };
      return [localRank, { recorded, errorFile: `/e${localRank}.json`, ...oom }];
    }),
  );
  const end = { exits, ...(signaledAtMs === undefined ? {} : { signaledAtMs }) };
  return describeFailures(end, localRank => remains.get(localRank), around);
}

type Case = [title: string, told: readonly (readonly [number, Told])[], ranks: readonly number[]];

/** All were stopped at 10,000, when the first was heard of. */
const cases: Case[] = [
  ['alone', [[0, { atMs: 10_000 }]], [0]],
  [
    'F-U1: of two in one instant it is the first that was heard of, whatever their times',
    [
      [1, { atMs: 10_000 }],
      [0, { atMs: 9_999.5 }],
    ],
    [1, 0],
  ],
  [
    'those that ended before the stop are listed as heard of, the others by local rank',
    [
      [3, { atMs: 9_990 }],
      [2, { atMs: 9_999 }],
      [4, { how: 'SIGTERM', atMs: 10_001 }],
      [0, { atMs: 10_002 }],
    ],
    [3, 2, 0, 4],
  ],
  [
    'who ended with 0 is no failure',
    [
      [0, { how: 0, atMs: 10 }],
      [1, { atMs: 10_000 }],
    ],
    [1],
  ],
  [
    'L-089: of two error files the earlier one tells, by its second',
    [
      [0, { atMs: 10_000, fileAtMs: 9_990, fileSecond: second + 9 }],
      [1, { atMs: 10_005, fileAtMs: 9_991, fileSecond: second + 1 }],
    ],
    [1, 0],
  ],
  [
    'F-P2: and within one second by when it was written',
    [
      [0, { atMs: 10_000, fileAtMs: 9_990 }],
      [1, { atMs: 10_005, fileAtMs: 9_310 }],
    ],
    [1, 0],
  ],
  [
    'a file of one second is no earlier than another where its clock is another machine’s',
    [
      [0, { atMs: 10_000, fileAtMs: 9_990 }],
      [1, { atMs: 10_005, fileAtMs: 5_000, fileSecond: second + 9 }],
    ],
    [0, 1],
  ],
  [
    'F-P2: who had written its error file before our signal failed by itself, though the signal ended it',
    [
      [0, { atMs: 10_000 }],
      [1, { how: 'SIGTERM', atMs: 10_020, fileAtMs: 10 }],
    ],
    [1, 0],
  ],
  [
    'F-P2: a raise a second ago comes before the reset connection of a peer that ended sooner',
    [
      [0, { atMs: 10_000, fileAtMs: 9_980 }],
      [1, { how: 'SIGTERM', atMs: 10_020, fileAtMs: 8_990 }],
    ],
    [1, 0],
  ],
  [
    'an error file written after our signal is its echo',
    [
      [0, { atMs: 10_000 }],
      [1, { how: 'SIGTERM', atMs: 10_020, fileAtMs: 10_005 }],
    ],
    [0, 1],
  ],
  [
    'and so is one within a tick of the clock that stamps files',
    [
      [0, { atMs: 10_000, fileAtMs: 9_999 }],
      [1, { how: 'SIGTERM', atMs: 10_020, fileAtMs: 9_995 }],
    ],
    [0, 1],
  ],
  [
    'a crash leaves no error file, and is heard of later than its peer writes one',
    [
      [0, { how: 'SIGKILL', atMs: 10_000 }],
      [1, { atMs: 10_030, fileAtMs: 9_700 }],
    ],
    [0, 1],
  ],
  [
    'a signal of ours never is the cause',
    [
      [0, { how: 'SIGTERM', atMs: 9_000 }],
      [1, { atMs: 10_000 }],
    ],
    [1, 0],
  ],
  ['unless there is nothing else', [[0, { how: 'SIGTERM', atMs: 10_000 }]], [0]],
  [
    'a hang that made us stop beats all',
    [
      [0, { atMs: 10_001, fileAtMs: 5 }],
      [1, { how: 'SIGKILL', cause: 'hang', atMs: 15_000 }],
    ],
    [1, 0],
  ],
  [
    'the kernel’s lack of memory beats what it made others do',
    [
      [0, { atMs: 10_000, fileAtMs: 9_000 }],
      [1, { how: 'SIGKILL', atMs: 10_010, outOfMemory: 'host memory: out of memory' }],
    ],
    [1, 0],
  ],
];

for (const [title, told, ranks] of cases) {
  t.test(title, t => {
    const failures = failuresOf(told, 10_000);

    t.strictSame(
      failures.map(({ rank }) => rank),
      ranks,
    );
    t.end();
  });
}

t.test('F-P2: such a failure is the worker’s own, and says what the file says', t => {
  const [root] = failuresOf(
    [
      [0, { atMs: 10_000 }],
      [1, { how: 'SIGTERM', atMs: 10_020, fileAtMs: 10 }],
    ],
    10_000,
  );

  t.match(root, { cause: 'own', duringStop: true, exitcode: -15, message: 'rank 1' });
  t.end();
});

t.test('what is described is plain JSON', t => {
  const failures = failuresOf(
    [
      [0, { atMs: 10_000, fileAtMs: 9_000, outOfMemory: 'host memory: …' }],
      [1, { how: 'SIGTERM', atMs: 10_020 }],
    ],
    10_000,
  );

  t.strictSame(JSON.parse(JSON.stringify(failures)), failures);
  t.end();
});

t.test('nobody has failed where all ended with 0', t => {
  t.strictSame(failuresOf([[0, { how: 0, atMs: 10 }]]), []);
  t.end();
});
