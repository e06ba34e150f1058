import { join } from 'node:path';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type Ended, runCli, startCli } from '../../harness.js';

const leaves = { mayLeave: /^torchelastic_/ };

/** One worker that runs `script` in each round. */
function run(t: Test, flags: readonly string[], script: string): Promise<Ended> {
  return runCli(t, ['--standalone', ...flags, '--no-python', 'sh', '-c', script], leaves);
}

function rounds({ stdout }: Ended): number {
  return stdout.split('\n').filter(line => line.startsWith('round')).length;
}

t.test('pain 24: a rule ends the job with an exit code that asks for no requeue', async t => {
  const flags = ['--max-restarts=5', '--on-exit=3,64-78=fail-without-requeue;9=restart'];

  const ended = await run(t, flags, 'echo round; exit 70');

  t.equal(ended.code, exitCodes.noRequeue);
  t.equal(rounds(ended), 1);
  t.match(ended.stderr, /the job ends: a rule says so.*\(64-78|3,64-78/);
  t.match(ended.stderr, /Root Cause[\s\S]*exitcode +: 70/);
});

t.test('a rule may look at the last words of the root cause', async t => {
  const flags = ['--max-restarts=5', '--tee=3', '--on-pattern=out of memory=fail'];

  const ended = await run(t, flags, 'echo round; echo CUDA out of memory >&2; exit 1');

  t.equal(ended.code, exitCodes.failed);
  t.match(ended.stderr, /a rule says so \(\/out of memory\/=fail\)/);
});

t.test('a free restart spends nothing', async t => {
  const script =
    'echo round $TORCHELASTIC_RESTART_COUNT; [ $TORCHELASTIC_RESTART_COUNT = 2 ] || exit 75';

  const ended = await run(t, ['--on-exit=75=restart-free'], script);

  t.match(ended, { code: 0, stderr: /restarting.*\(75=restart-free\)/ });
  t.equal(rounds(ended), 3);
});

t.test('pain 8: a first round that fails at once is not tried again', async t => {
  const ended = await run(t, ['--max-restarts=5', '--fail-fast=10m'], 'echo round; exit 1');

  t.equal(ended.code, exitCodes.noProgress);
  t.equal(rounds(ended), 1);
});

t.test('pain 8: rounds without progress end the job', async t => {
  const ended = await run(t, ['--max-restarts=9', '--no-progress=3'], 'echo round; exit 1');

  t.equal(ended.code, exitCodes.noProgress);
  t.equal(rounds(ended), 3);
});

t.test('pain 8: a window alone limits restarts', async t => {
  const ended = await run(t, ['--restart-window=2/1h'], 'echo round; exit 1');

  t.equal(ended.code, exitCodes.failed);
  t.equal(rounds(ended), 3);
  t.match(ended.stderr, /too many restarts within the time of --restart-window/);
});

t.test('steps told through shared memory are progress, also once their worker is gone', async t => {
  // Rounds 0 and 1 get further than any before them, those that follow don't.
  const script = [
    'import os, sys',
    'sys.path.insert(0, os.environ["REGROUP_PYTHONPATH"])',
    'import regroup_store',
    'count = int(os.environ["TORCHELASTIC_RESTART_COUNT"])',
    'regroup_store.Client.connect().beat(0, 10 + min(count, 1))',
    'print("round", count, flush=True)',
    'os._exit(1)',
  ].join('\n');
  const flags = ['--standalone', '--max-restarts=9', '--no-progress=2', '--no-python'];

  const ended = await runCli(t, [...flags, '/usr/bin/python3', '-c', script], leaves);

  t.equal(ended.code, exitCodes.noProgress, ended.stderr);
  t.equal(rounds(ended), 4);
});

t.test('a restart names what the budget and the window have left', async t => {
  const flags = ['--max-restarts=4', '--restart-window=1/1h'];

  const ended = await run(t, flags, 'echo round; exit 1');

  t.match(ended.stderr, /restarting, 3 of 4 restarts left, 0 within the window/);
  t.equal(rounds(ended), 2);
});

t.test('pain 8: a round that ran for long gives the restarts back', async t => {
  // Any round is healthy after a millisecond; the third ends well, where one restart is allowed.
  const script = 'echo round; sleep 0.01; [ $TORCHELASTIC_RESTART_COUNT = 2 ]';
  const flags = ['--max-restarts=1', '--reset-on-progress', '--healthy-after=1ms'];

  const ended = await run(t, flags, script);

  t.equal(ended.code, 0);
  t.equal(rounds(ended), 3);
});

t.test('a stop in the pause before a restart ends the job', async t => {
  const run = startCli(
    t,
    ['--standalone', '--max-restarts=5', '--back-off=10m', '--no-python', 'false'],
    leaves,
  );
  await run.line(/restarting, 4 of 5 restarts left, in \d+ min/);

  run.kill('SIGTERM');

  t.match(await run.ended, { code: 1, stderr: /got signal: 15/ });
});

t.test('a pause ends, and the next round starts', async t => {
  const script = 'echo round; exit $((1 - TORCHELASTIC_RESTART_COUNT))';
  const ended = await run(t, ['--max-restarts=1', '--back-off=10ms:20ms'], script);

  t.equal(ended.code, 0);
  t.equal(rounds(ended), 2);
});

for (const [flag, value, words] of [
  ['--on-exit', '300=fail', /'300' is not an exit code/],
  ['--on-exit', '3', /names no action/],
  ['--on-exit', '3=explode', /names no action/],
  ['--on-pattern', '(=fail', /no regular expression/],
  ['--restart-window', '3', /is no number per time/],
  ['--back-off', '60s:1s', /first is above the last/],
  ['--fail-fast', 'soon', /not a time/],
  ['--no-progress', '0', /counts failed rounds/],
] as const) {
  t.test(`${flag}=${value} is refused in one line`, async t => {
    const ended = await runCli(t, [`${flag}=${value}`, join('no', 'script.py')]);

    t.equal(ended.code, 1);
    t.match(ended.stderr, words);
    t.equal(ended.stderr.trim().split('\n').length, 1);
  });
}
