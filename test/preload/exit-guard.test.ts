import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../harness.js';

// One list of interpreters with PyTorch. The script has no types.
const { findPythons } = (await import(resolve('scripts/python.mjs'))) as {
  findPythons(): Record<'newest' | 'old', { path: string } | undefined>;
};

interface Python {
  readonly path: string;
  readonly version: string;
}

/** Those that PyTorch 1.13 and newer run on, and that end threads by pthread_exit: CPython 3.7 to 3.13. */
function guardedPythons(): Python[] {
  const { newest, old } = findPythons();
  const pyenv = join(homedir(), '.pyenv/versions');
  const versions = existsSync(pyenv) ? readdirSync(pyenv) : [];
  const paths = [
    newest?.path,
    old?.path,
    '/usr/bin/python3',
    ...versions.map(version => join(pyenv, version, 'bin/python3')),
  ];
  return [...new Set(paths.filter(path => path !== undefined))].flatMap(path => {
    const ask = 'import sys; print(sys.implementation.name, *sys.version_info[:3], sep=".")';
    const { stdout, status } = spawnSync(path, ['-c', ask], { encoding: 'utf8' });
    const [, version, minor] = /^cpython\.(3\.(\d+)\.\d+)\n$/.exec(stdout ?? '') ?? [];
    const isGuarded = status === 0 && Number(minor) >= 7 && Number(minor) <= 13;
    return isGuarded && version !== undefined ? [{ path, version }] : [];
  });
}

const pythons = guardedPythons();
const skip = pythons.length === 0 ? 'no CPython from 3.7 to 3.13' : false;
/** Without a core file where a worker aborts. */
const under = ['prlimit', '--core=0'];

t.test('a thread of C++ asks for the GIL while Python ends', { skip }, async t => {
  const library = join(t.testdir({}), 'asks_for_gil.so');
  const source = resolve('test/fixtures/asks_for_gil.cc');
  execFileSync('g++', ['-shared', '-fPIC', '-pthread', '-o', library, source]);
  const run = (t: Test, { path }: Python, disable: string) =>
    runCli(t, ['--standalone', resolve('test/fixtures/asks_for_gil.py'), library], {
      env: { PYTHON_EXEC: path, REGROUP_DISABLE: disable },
      under,
    });

  for (const python of pythons) {
    await t.test(
      `Python ${python.version} at ${python.path}: no abort, but without the guard`,
      async t => {
        for (const disable of ['', 'early-notice']) {
          const { code, stdout, stderr } = await run(t, python, disable);

          t.equal(code, 0, `a success with REGROUP_DISABLE=${disable}`);
          t.equal(stdout, 'ready\njoined\n');
          t.equal(stderr, '');
        }

        for (const disable of ['exit-guard', 'exit-guard,early-notice']) {
          const { code, stderr } = await run(t, python, disable);

          t.equal(code, 1, `an abort with REGROUP_DISABLE=${disable}`);
          t.match(stderr, 'terminate called without an active exception');
          t.match(stderr, /SIGABRT/);
        }
      },
    );
  }
});
