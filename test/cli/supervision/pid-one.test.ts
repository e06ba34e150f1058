import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { startCli } from '../../harness.js';

const fixture = (name: string) => resolve('test/fixtures', name);
/** For a container whose ENTRYPOINT is the command. It ends as its process 1 does. */
const container = ['unshare', '--pid', '--fork', '--mount-proc'];
const canUnshare = spawnSync('unshare', [...container.slice(1), 'true']).status === 0;
const skip = canUnshare ? false : 'no PID namespace can be made here';

/** `kill` signals process 1 from outside, as a container's runtime does. */
async function startAsInit(t: Test, args: readonly string[], ready: RegExp) {
  const run = startCli(t, ['--standalone', ...args], { under: container });
  await run.line(ready);
  const children = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8');
  return { ...run, kill: (signal: NodeJS.Signals) => process.kill(Number(children), signal) };
}

t.test('pain 29: as process 1 it reaps orphans, forwards and ends with 1', { skip }, async t => {
  const run = await startAsInit(t, [fixture('orphan.py')], /orphan of 1 is reaped/);

  run.kill('SIGTERM');
  const ended = await run.ended;

  t.match(ended, { code: 1, signal: null });
  t.match(ended.stdout, 'got SIGTERM\n');
  t.match(ended.stderr, /got signal: 15\n$/);
});

t.test('pain 29: as process 1 it ends with 0 after a success', { skip }, async t => {
  const run = startCli(t, ['--standalone', fixture('ends.py'), '0'], { under: container });

  t.match(await run.ended, { code: 0, signal: null, stderr: '' });
});

t.test('pain 29: process 1 can not die by a signal: 128 + n stands for it', { skip }, async t => {
  const run = await startAsInit(t, [fixture('waits.py')], /worker 0 is ready/);

  run.kill('SIGUSR2');
  const ended = await run.ended;

  t.match(ended, { code: 128 + 12, signal: null });
  t.match(ended.stdout, 'worker 0 got SIGTERM\n');
});

t.test('pain 29: as process 1 it hears how a hook ended, among orphans', { skip }, async t => {
  const orphans = 'for i in $(seq 20); do (sh -c "exit 9" &); done';
  const hooks = ['--pre-start', orphans, '--post-round', `${orphans}; exit 5`];
  const run = startCli(t, ['--standalone', ...hooks, fixture('ends.py'), '0'], {
    under: container,
  });

  const { code, stderr } = await run.ended;

  t.equal(code, 0);
  t.match(stderr, 'the post-round hook of round 0 exited with code 5\n');
});

t.test(
  'pain 29: as process 1 it hears those that read stacks, among orphans',
  { skip },
  async t => {
    const args = ['--standalone', '--hang-silence=500ms', '--log-dir', t.testdir({})];
    const orphans = ['--no-python', 'sh', '-c', 'while :; do (true &); sleep 0.002; done'];
    const run = startCli(t, [...args, '--nproc-per-node=2', ...orphans], { under: container });

    const { code, stderr } = await run.ended;

    t.equal(code, 1);
    const paths = [...stderr.matchAll(/^ {2}(\/.*\/stacks\.txt)$/gm)].map(match => match[1] ?? '');
    t.equal(paths.length, 2);
    for (const path of paths) t.notMatch(readFileSync(path, 'utf8'), /not done after/);
  },
);

t.test(
  'F-F01 with the /proc of another PID namespace it writes to nobody of the same number',
  { skip },
  async t => {
    const file = join(t.testdir({}), 'database');
    const before = 'A'.repeat(8192);
    writeFileSync(file, before);
    // Process 1 of the outer namespace holds it where process 1 of the inner one, the agent, has others.
    const service = ['python3', fixture('holds_files.py'), file];
    const run = startCli(t, ['--standalone', '--nproc-per-node=2', fixture('ends.py'), '0'], {
      under: [...container, ...service, 'unshare', '--pid', '--fork'],
    });

    t.match(await run.ended, { code: 0, signal: null });
    t.ok(readFileSync(file, 'utf8') === before, 'no byte of the file has changed');
  },
);
