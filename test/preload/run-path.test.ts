import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { runPathShim } from '../../lib/preload/preload.js';

// Not a version manager's shim on PATH, which takes seconds.
const python = existsSync('.venv/bin/python') ? '.venv/bin/python' : 'python3';

function runPath(t: Test, source: string, args: readonly string[] = []) {
  const folder = t.testdir({ 'script.py': source, 'sibling.py': 'value = 7' });
  const errorFile = `${folder}/error.json`;
  const { status, signal, stdout, stderr } = spawnSync(
    python,
    ['-u', runPathShim(), `${folder}/script.py`, ...args],
    { encoding: 'utf8', env: { ...process.env, TORCHELASTIC_ERROR_FILE: errorFile } },
  );
  const error = existsSync(errorFile) ? JSON.parse(readFileSync(errorFile, 'utf8')) : undefined;
  return { folder, status, signal, stdout, stderr, error };
}

t.test('L-046 the script runs as __main__ with its own argv and its own folder on the path', t => {
  const { folder, status, stdout } = runPath(
    t,
    'import sys, sibling; print(__name__, sys.argv, sibling.value, sys.path[0])',
    ['--x', '1'],
  );
  const argv = `['${folder}/script.py', '--x', '1']`;
  t.equal(stdout, `__main__ ${argv} 7 ${folder}\n`);
  t.equal(status, 0);
  t.end();
});

t.test('L-091 L-092 the script decides how it ends', t => {
  const cases: [string, number | null, NodeJS.Signals | null][] = [
    ['pass', 0, null],
    ['import sys; sys.exit(0)', 0, null],
    ['import sys; sys.exit()', 0, null],
    ['import sys; sys.exit(5)', 5, null],
    ['import sys; sys.exit("a text")', 1, null],
    ['import os; os._exit(9)', 9, null],
    ['raise ValueError("boom")', 1, null],
    ['import os; os.kill(os.getpid(), 15)', null, 'SIGTERM'],
    ['raise KeyboardInterrupt', null, 'SIGINT'],
  ];
  for (const [source, status, signal] of cases) {
    const { error, ...ended } = runPath(t, source);
    t.match(ended, { status, signal }, source);
    t.equal(error !== undefined, source.startsWith('raise ValueError'), source);
  }
  t.end();
});

t.test(
  'L-081 an exception is recorded as torch records it, and its traceback is the script’s',
  t => {
    const { folder, stderr, error } = runPath(t, 'def f():\n  raise ValueError("bööm")\nf()\n');

    t.match(error, {
      message: {
        message: 'ValueError: bööm',
        extraInfo: {
          py_callstack: /^Traceback \(most.*ValueError: bööm\n$/s,
          timestamp: /^\d{10}$/,
        },
      },
    });
    t.match(stderr, new RegExp(`^Traceback.*\n  File "${folder}/script.py", line 3`));
    t.end();
  },
);
