import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { isAlive, runCli, startCli } from '../../harness.js';

/** What workers leave behind: who may end by himself, who's told, who's left alone. */

const fixture = (name: string) => resolve('test/fixtures', name);

/** Segments of Python's multiprocessing. */
function segments(): string[] {
  return readdirSync('/dev/shm').filter(name => name.startsWith('psm_'));
}

// A hundred rounds, each of two interpreters.
const hundred = { timeout: 850_000 };
t.setTimeout(900_000);

/** Nobody needs as much, but on a machine that's very busy. */
const patient = '--tidy-grace=60s';

t.test('F-F06 after 100 restarts /dev/shm holds what it held before', hundred, async t => {
  const before = segments();

  const args = ['--standalone', '--max-restarts=100', patient, '--redirects=3'];
  const ended = await runCli(t, [...args, `--log-dir=${t.testdir({})}`, fixture('shares.py')]);

  t.equal(ended.code, 0);
  t.match(ended.stderr, /restarting, 0 of 100 restarts left/);
  t.notMatch(ended.stderr, 'left behind');
  t.strictSame(
    segments().filter(name => !before.includes(name)),
    [],
  );
});

t.test('F-F06 a helper of a worker that fails, or is stopped, writes what it holds', async t => {
  const out = t.testdir({});

  const ended = await runCli(t, [
    '--standalone',
    '--nproc-per-node=2',
    patient,
    fixture('flushes.py'),
    join(out, 'flushed'),
  ]);

  t.equal(ended.code, 1);
  t.equal(readFileSync(join(out, 'flushed'), 'utf8'), 'flushed\nflushed\n');
  t.notMatch(ended.stderr, 'left behind');
});

t.test('F-F17 a success with spawned children is told without a warning', async t => {
  for (const how of ['spawn', 'forkserver']) {
    const ended = await runCli(t, ['--standalone', fixture('spawns.py'), how]);

    t.match(ended, { code: 0, stderr: '' }, how);
  }
});

t.test('F-F16 an upload in a session of its own lives on where that is asked for', async t => {
  for (const [args, lives] of [
    [['--leave-detached'], true],
    [[], false],
  ] as const) {
    const run = startCli(t, ['--standalone', ...args, fixture('detaches.py')], {
      env: { LOGLEVEL: 'INFO' },
    });
    const upload = Number(/(\d+)/.exec(await run.line(/^upload \d+/))?.[1]);

    const ended = await run.ended;

    t.equal(ended.code, 0);
    t.equal(isAlive(upload), lives);
    t.match(
      ended.stderr,
      lives
        ? new RegExp(`left alone what workers had started: 1 process: sleep \\(pid ${upload}\\)`)
        : new RegExp(`killed what workers had left behind: 1 process: sleep \\(pid ${upload}\\)`),
    );
    if (lives) process.kill(upload, 'SIGKILL');
  }
});

t.test('F-H7 REGROUP_LEAVE in the environment of a process leaves that one alone', async t => {
  const script = `
    REGROUP_LEAVE=1 sh -c 'echo asks $$$$; exec sleep 1000' & sh -c 'echo does not $$$$; exec sleep 1000' &
    read go; exit 3`;
  // Not for all of the job: it says nothing about a worker.
  const run = startCli(t, ['--standalone', '--no-python', 'sh', '-c', script], {
    env: { REGROUP_LEAVE: '1' },
    typing: true,
  });
  const asks = Number((await run.line(/^asks/)).split(' ')[1]);
  const other = Number((await run.line(/^does not/)).split(' ')[2]);

  run.type('go\n');
  // It holds the command's stderr.
  // It may not have become `sleep` yet.
  await run.line(/killed what workers had left behind: 1 process: \S+ \(pid \d+\)/);
  await run.line(/Root Cause/);

  t.ok(isAlive(asks));
  t.notOk(isAlive(other));
  process.kill(asks, 'SIGKILL');
  t.equal((await run.ended).code, 1);
});
