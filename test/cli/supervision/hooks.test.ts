import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, gone, startCli } from '../../harness.js';

const fixture = (name: string) => resolve('test/fixtures', name);
const ends = [fixture('ends.py'), '0'];

function start(t: Test, args: readonly string[], mayLeave?: RegExp): CliRun {
  return startCli(t, ['--standalone', ...args], mayLeave === undefined ? {} : { mayLeave });
}

/** Two of its own: a child, and a daemon with another session. */
const startsTwo =
  'sleep 1000 & echo pids $! $(setsid sh -c "sleep 1000 >&- 2>&- & echo \\$!"); wait';

async function pidsOf(run: CliRun, hook: string): Promise<number[]> {
  const line = await run.line(new RegExp(`^${hook}: pids`));
  return line.split(' ').slice(2).map(Number);
}

t.test('hooks are told the round, what ended it, and who failed', async t => {
  const told = '$REGROUP_ROUND ${REGROUP_REASON-none} ${REGROUP_FAILED_RANK-none}';
  const tells = `echo $REGROUP_HOOK ${told} of $REGROUP_RUN_ID`;
  // In `$$` the entry point's macros leave a `$`.
  const script = '[ $$REGROUP_ROUND = 1 ] && exit 0; [ $$RANK = 1 ] && exit 3; exec sleep 1000';
  const run = startCli(t, [
    ...['--nproc-per-node=2', '--max-restarts=1', '--rdzv-id=a-run'],
    ...['--rdzv-backend=c10d', '--rdzv-endpoint=localhost:0'],
    ...['--pre-start', tells, '--pre-stop', `${tells} >&2`, '--post-round', tells],
    ...['--no-python', 'sh', '-c', script],
  ]);

  const { code, stderr } = await run.ended;

  t.equal(code, 0);
  t.strictSame(
    stderr.split('\n').filter(line => line.includes(' of a-run')),
    [
      'pre-start: pre-start 0 none none of a-run',
      'pre-stop: pre-stop 0 failure 1 of a-run',
      'post-round: post-round 0 failure 1 of a-run',
      'pre-start: pre-start 1 failure 1 of a-run',
      'post-round: post-round 1 success none of a-run',
    ],
  );
});

t.test('a hook has the environment and the folder of workers', async t => {
  const cwd = t.testdir({});
  const run = startCli(t, ['--standalone', '--pre-start', 'echo in $PWD, $MINE', ...ends], {
    cwd,
    env: { MINE: 'yes', REGROUP_REASON: 'of somebody else' },
  });

  const { code, stderr } = await run.ended;

  t.equal(code, 0);
  t.equal(stderr, `pre-start: in ${cwd}, yes\n`);
});

t.test("neither hooks, workers nor --dry-run get what's for agents alone", async t => {
  const env = { REGROUP_TOKEN: 's3cret'.repeat(4), REGROUP_ETCD_PASSWORD: 's3cret', MINE: 'yes' };
  const args = ['--standalone', '--pre-start', 'env', '--no-python', 'env'];

  const { code, stdout, stderr } = await startCli(t, args, { env }).ended;
  const dry = await startCli(t, ['--dry-run', ...args], { env }).ended;

  t.equal(code, 0);
  t.match(stdout, /^MINE=yes$/m);
  t.match(stderr, /^pre-start: MINE=yes$/m);
  t.equal(dry.code, 0);
  t.notMatch([stdout, stderr, dry.stdout, dry.stderr].join(), 's3cret');
});

t.test('a hook that fails before the start ends the run with one error', async t => {
  const run = start(t, ['--pre-start', 'printf last; exit 7', fixture('prints.py')]);

  const { code, stdout, stderr } = await run.ended;

  t.equal(code, 1);
  t.equal(stdout, '');
  t.equal(
    stderr,
    'pre-start: last\n' +
      'regroup: error: the pre-start hook of round 0 exited with code 7; the round was not started\n',
  );
});

t.test('a hook that takes too long is killed with its group', async t => {
  // Long enough for it to say what it has started, on a machine that's busy.
  const run = start(t, [
    '--post-round',
    'sleep 1000 & echo pids $!; wait',
    '--hook-timeout=4s',
    ...ends,
  ]);
  const pids = await pidsOf(run, 'post-round');

  const { code, stderr } = await run.ended;

  t.equal(code, 0, 'a failing hook after a round changes no result');
  t.match(stderr, /the post-round hook of round 0 took longer than 4 s and was killed\n/);
  t.ok(await gone(pids));
});

t.test('what a hook leaves in the background keeps nobody waiting', async t => {
  const run = start(t, ['--pre-start', 'sleep 1000 & echo pids $!', '--hook-timeout=1h', ...ends]);
  const [pid = 0] = await pidsOf(run, 'pre-start');

  const { code } = await run.ended;

  t.equal(code, 0);
  t.ok(process.kill(pid, 'SIGKILL'), 'it lives on');
  t.ok(await gone([pid]));
});

t.test('a stop during the hook before the start ends both', async t => {
  const run = start(t, ['--pre-start', 'sleep 1000 & echo pids $!; wait', fixture('waits.py')]);
  const pids = await pidsOf(run, 'pre-start');

  run.kill('SIGTERM');
  const { code, stdout, stderr } = await run.ended;

  t.ok(await gone(pids));
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /got signal: 15\n$/);
});

t.test('workers live while the hook before a stop runs, and get the signal then', async t => {
  const folder = t.testdir({});
  const go = join(folder, 'go');
  const waits = `echo holding; while [ ! -e ${go} ]; do sleep 0.01; done`;
  const run = start(t, [
    ...['--forward-signals=SIGUSR2', '--pre-stop', waits],
    ...[fixture('waits.py'), 'ignore'],
  ]);
  await run.line(/worker 0 is ready/);

  run.kill('SIGTERM');
  await run.line(/^pre-stop: holding/);
  run.kill('SIGUSR2');
  await run.line(/worker 0 got SIGUSR2/);
  t.notMatch(run.stdout(), 'SIGTERM');
  writeFileSync(go, '');
  await run.line(/worker 0 got SIGTERM/);
  run.kill('SIGINT');
  const { code } = await run.ended;

  t.equal(code, 1);
});

t.test('a second signal waits for no hook', async t => {
  const run = start(t, ['--pre-stop', 'echo holding; sleep 1000', fixture('waits.py'), 'ignore']);
  await run.line(/worker 0 is ready/);

  run.kill('SIGTERM');
  await run.line(/^pre-stop: holding/);
  run.kill('SIGINT');
  const { code, stdout, stderr } = await run.ended;

  t.equal(code, 1);
  t.match(stderr, /got signal: 15\n$/);
  t.notMatch(stdout, 'got SIG');
});

for (const [hook, script] of [
  ['pre-start', ends],
  [
    'pre-stop',
    ['--nproc-per-node=2', '--no-python', 'sh', '-c', '[ $$RANK = 0 ] || exec sleep 1000; exit 1'],
  ],
  ['post-round', ends],
] as const) {
  t.test(`pain 1: what a ${hook} hook has started dies with an agent that is killed`, async t => {
    const run = start(
      t,
      [`--${hook}`, startsTwo, '--hook-timeout=1h', ...script],
      /^torchelastic_/,
    );
    const pids = await pidsOf(run, hook);

    run.kill('SIGKILL');
    await run.ended;

    t.equal(pids.length, 2);
    t.ok(await gone(pids));
  });
}

t.test('--hook-timeout needs a hook, and a hook a command', async t => {
  const alone = await start(t, ['--hook-timeout=1s', ...ends]).ended;
  const empty = await start(t, ['--pre-stop', '', ...ends]).ended;
  const wrong = await start(t, ['--pre-stop', 'true', '--hook-timeout=soon', ...ends]).ended;

  for (const { code, stderr } of [alone, empty, wrong]) {
    t.equal(code, 1);
    t.match(stderr, /^regroup: error: --(hook-timeout|pre-stop)/);
  }
});
