import t from 'tap';
import type { WorkerExit } from '../../lib/events.js';
import { parseErrorFile } from '../../lib/failures/error-file.js';
import { describeFailure, type Remains, type SeenExit } from '../../lib/failures/failure.js';
import { withErrorCode } from '../../lib/failures/own-error-file.js';
import { exitcodeOf } from '../../lib/worker-exit.js';

const seen: SeenExit = {
  worker: { rank: 3, localRank: 1, pid: 18011 },
  exit: { how: 'exited', code: 1 },
  cause: 'own',
  duringStop: false,
  durationMs: 12_400,
  atMs: 700,
};
const around = { host: 'node-a', seenAtUnixMs: 1_795_349_226_700 };
const nothing: Remains = { recorded: { file: { kind: 'absent' } }, errorFile: '/e.json' };
const recorded = (text: string): Remains => ({
  recorded: { file: parseErrorFile(text), text, writtenAtMs: 0 },
  errorFile: '/e.json',
});
const enableTraceback =
  'To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html';

function signaled(signalNumber: number, signal = `SIG${signalNumber}`): WorkerExit {
  return { how: 'signaled', signal, signalNumber, coreDumped: false };
}

t.test('L-081 an error file with an exception gives its traceback, indented, and its time', t => {
  const text = JSON.stringify({
    message: {
      message: 'ValueError: boom',
      extraInfo: {
        py_callstack: 'Traceback:\n  File "a.py"\nValueError: boom\n',
        timestamp: '1795349225',
      },
    },
  });

  const failure = describeFailure(seen, recorded(text), around);

  t.match(failure, {
    message: 'ValueError: boom',
    traceback: 'Traceback:\n    File "a.py"\n  ValueError: boom\n  ',
    timestamp: 1795349225,
    recorded: 'ValueError: boom',
    errorFile: '/e.json',
  });
  t.end();
});

t.test('L-085 a string message is shown as it is', t => {
  const text = '{"message": "plain\\ntext", "timestamp": 1795349000}';
  const failure = describeFailure(seen, recorded(text), around);
  t.match(failure, { message: 'plain\ntext', traceback: 'plain\ntext', timestamp: 1795349000 });
  t.end();
});

t.test('without an error file the exit tells', t => {
  const failure = describeFailure(seen, nothing, around);
  t.strictSame(failure, {
    rank: 3,
    localRank: 1,
    pid: 18011,
    exit: { how: 'exited', code: 1 },
    exitcode: 1,
    cause: 'own',
    duringStop: false,
    durationMs: 12_400,
    message: enableTraceback,
    traceback: enableTraceback,
    timestamp: 1795349226,
    host: 'node-a',
  });
  t.end();
});

t.test('L-084 L-126 deaths by signal name the signal, if it has a name', t => {
  for (const [number, text] of [
    [11, 'Signal 11 (SIGSEGV) received by PID 18011'],
    [9, 'Signal 9 (SIGKILL) received by PID 18011'],
    [36, 'Signal 36 (<N/A>) received by PID 18011'],
  ] as const) {
    const failure = describeFailure({ ...seen, exit: signaled(number) }, nothing, around);
    t.match(failure, { message: text, exitcode: -number });
  }
  t.end();
});

t.test('L-086 no error file hides the failure that it is about', t => {
  const notes: [string, string][] = [
    ['', 'is empty'],
    ['{"mess', "isn't JSON"],
    ['[1]', "isn't a JSON object"],
    ['null', "isn't a JSON object"],
    ['{}', 'has no message'],
    ['{"message": 3}', 'has no message'],
  ];
  for (const [text, note] of notes) {
    const failure = describeFailure(seen, recorded(text), around);
    t.match(failure, {
      traceback: `${enableTraceback} (its error file ${note})`,
      timestamp: 1795349226,
      errorFile: '/e.json',
    });
  }
  t.end();
});

t.test('what an error file lacks is made up for', t => {
  const cases: [unknown, string, string][] = [
    [{ message: {} }, '<N/A>', '<N/A>'],
    [{ message: { message: 'a\nb' } }, 'a\nb', 'a\n  b'],
    [{ message: { extraInfo: { py_callstack: 'T\nE: x' } } }, 'E: x', 'T\n  E: x'],
    [{ message: { message: 7, extraInfo: [] } }, '<N/A>', '<N/A>'],
    [{ message: '' }, enableTraceback, enableTraceback],
  ];
  for (const [data, message, traceback] of cases) {
    const failure = describeFailure(seen, recorded(JSON.stringify(data)), around);
    t.match(failure, { message, traceback });
  }
  t.end();
});

t.test('a timestamp is taken if it is one', t => {
  for (const [timestamp, expected] of [
    ['1795349225', 1795349225],
    [1795349225.9, 1795349225],
    ['soon', undefined],
    ['', undefined],
    [0, undefined],
    [-5, undefined],
    [1e300, undefined],
    [true, undefined],
    [null, undefined],
  ] as const) {
    const file = parseErrorFile(
      JSON.stringify({ message: { message: 'x', extraInfo: { timestamp } } }),
    );
    t.equal(file.kind === 'read' ? file.timestamp : 'unread', expected, String(timestamp));
  }
  t.end();
});

t.test('exit codes are as Python has them, and an unknown status is no success', t => {
  t.equal(exitcodeOf({ how: 'exited', code: 255 }), 255);
  t.equal(exitcodeOf(signaled(11)), -11);
  t.equal(exitcodeOf({ how: 'unknown' }), 255);
  t.end();
});

t.test('L-087 the launcher passes the root cause on with its exit code', t => {
  const text = '{"message": {"message": "x", "extraInfo": {"timestamp": "1"}}, "more": 1}';
  t.strictSame(JSON.parse(withErrorCode(text, -11)), {
    message: { message: 'x', extraInfo: { timestamp: '1' }, errorCode: -11 },
    more: 1,
  });
  for (const unchanged of ['{"message": "text"}', 'garbage', '[]', '{"other": 1}']) {
    t.equal(withErrorCode(unchanged, 1), unchanged);
  }
  t.end();
});
