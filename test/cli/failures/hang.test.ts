import { chmodSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, type Ended, runCli, startCli } from '../../harness.js';

/** Real workers that hang. Each case ends by the rule under test: nothing else would end it. */

const hangs = resolve('test/fixtures/hangs.py');
const step = ['--expect', 'step (\\d+)', '--every', '2s'];

function run(
  t: Test,
  rules: readonly string[],
  script: readonly string[],
  options?: CliOptions & { readonly nproc?: number },
): Promise<Ended> {
  const { nproc = 1, ...rest } = options ?? {};
  const logs = ['--log-dir', t.testdir({}), '--shutdown-timeout=5'];
  return runCli(
    t,
    ['--standalone', `--nproc-per-node=${nproc}`, ...logs, ...rules, ...script],
    rest,
  );
}

/** The `stacks.txt` that a run has named, of a local rank. */
function stacksOf(ended: Ended, localRank = 0): string {
  const path = new RegExp(`^  (/.*/attempt_0/${localRank}/stacks.txt)$`, 'm').exec(
    ended.stderr,
  )?.[1];
  return readFileSync(path ?? 'no stacks named', 'utf8');
}

type Case = [title: string, rules: readonly string[], how: string, said: RegExp];

const cases: Case[] = [
  [
    'pain 16: a worker that has gone silent fails the job',
    ['--hang-silence=2s'],
    'silent',
    /traceback : hung \(silence\): no worker has written anything for .*; worker 0 was the last/,
  ],
  [
    'pain 16: so does one whose expected line stops, though it writes others',
    step,
    'other',
    /hung \(expect\): no line like \/step/,
  ],
  [
    'a loss that is NaN is a hang at once',
    ['--expect', 'loss (\\S+)', '--every=1h', '--expect-rule=finite', '--first-progress=2s'],
    'nan',
    /hung \((value|first-progress)\)/,
  ],
  [
    'a step that does not grow is a hang',
    [...step, '--expect-rule=grows'],
    'same',
    /hung \(expect\): the value of .* hasn't grown beyond 1 for/,
  ],
  [
    'a worker that never gets anywhere is found by --first-progress',
    ['--first-progress=2s'],
    'never',
    /hung \(first-progress\): no worker has made any progress/,
  ],
];

for (const [title, rules, how, said] of cases) {
  t.test(title, async t => {
    const ended = await run(t, rules, [hangs, how]);

    t.equal(ended.code, 1);
    t.match(ended.stderr, said);
    t.match(stacksOf(ended), /^--- \d+\/wchan$/m);
  });
}

t.test('a heartbeat that stops is a hang', async t => {
  const script = [hangs, 'beats', resolve('python')];
  const ended = await run(t, ['--hang-heartbeat=2s'], script);

  t.equal(ended.code, 1);
  t.match(ended.stderr, /hung \(heartbeat\): no heartbeat for .*; the last was of step 5/);
});

t.test('a hang costs a restart, and the next round may succeed', async t => {
  const ended = await run(t, ['--hang-silence=2s', '--max-restarts=1'], [hangs, 'once']);

  t.equal(ended.code, 0);
  t.match(ended.stderr, /has stopped writing; .*restarting, 0 of 1 restart left/);
  t.match(ended.stdout, 'rank 0 works');
});

t.test(
  'pain 17: a stopped worker is found, dumped and killed; the other is its victim',
  async t => {
    const ended = await run(t, step, [hangs, 'stopped'], { nproc: 2 });

    t.equal(ended.code, 1);
    t.match(ended.stderr, /worker 1 \(local 1, pid \d+\) hangs: no line like/);
    t.match(ended.stderr, /rank 1 in a stopped process/);
    t.match(stacksOf(ended, 1), /^State:\tT/m);
    t.match(
      ended.stderr,
      /Root Cause \(first observed failure\):\n\[\d\]:\n.*\n.*\n {2}rank {6}: 1 /,
    );
  },
);

t.test('pain 17: stacks of a script that has registered faulthandler are written', async t => {
  const rules = ['--hang-silence=2s', '--dump-signal=SIGUSR1'];
  const ended = await run(t, rules, [hangs, 'handler'], { env: { PATH: '/usr/bin:/bin' } });

  t.match(ended.stderr, /workers wait: rank 0 in stuck_here \(hangs\.py:\d+\)/);
  t.match(stacksOf(ended), /line \d+ in stuck_here$/m);
});

for (const [id, rules] of [
  ['F-U4', ['--hang-silence=2s']],
  ['F-F12', ['--expect=step (\\d+)', '--every=2s', '--first-progress=1h']],
] as const) {
  t.test(
    `${id}: the culprit is in no collective, and the only one that prints its victim`,
    async t => {
      const flags = [...rules, '--dump-signal=SIGUSR1'];
      const env = { PATH: '/usr/bin:/bin' };
      const ended = await run(t, flags, [hangs, 'waits-for-another'], { nproc: 2, env });

      t.equal(ended.code, 1);
      t.match(
        ended.stderr,
        /workers wait: rank 0 in all_reduce \(.*\), rank 1 in next_batch \(.*\)/,
      );
      const why = /it's in next_batch \(hangs\.py:\d+\) while rank 0 waits in a collective/;
      t.match(ended.stderr, new RegExp(`  worker 1 keeps them waiting: ${why.source}`));
      t.match(
        ended.stderr,
        /Root Cause \(first observed failure\):\n\[\d\]:\n.*\n.*\n {2}rank {6}: 1 /,
      );
      t.match(ended.stderr, new RegExp(`traceback : hung .*; ${why.source}`));
    },
  );
}

t.test('without py-spy and a handler a line says what would give Python frames', async t => {
  const rules = ['--hang-silence=2s'];
  const ended = await run(t, rules, [hangs, 'silent'], { env: { PATH: '/usr/bin:/bin' } });

  t.match(ended.stderr, /^ {2}for Python frames, put py-spy on the PATH of the workers/m);
});

t.test('F-F13: a line is seen whatever noise follows it', async t => {
  const rules = ['--expect=step (\\d+)', '--every=2s', '--first-progress=1h'];
  const ended = await run(t, [...rules, '--redirects=3'], [hangs, 'noisy']);

  t.equal(ended.code, 1);
  t.match(ended.stderr, 'hung (expect): no line like /step');
});

t.test('F-F05: the newest beat counts, whichever client of the worker it is from', async t => {
  const script = [hangs, 'two-clients', resolve('python')];
  const ended = await run(t, ['--hang-heartbeat=2s'], script);

  t.match(ended.stderr, /hung \(heartbeat\): no heartbeat for .*; the last was of step 2/);
});

t.test('F-F05: a worker whose client is closed has nothing more to tell', async t => {
  const rules = ['--hang-heartbeat=2s', '--on-hang=notify'];
  const script = [hangs, 'closes', resolve('python')];
  const cli = startCli(t, ['--standalone', '--nproc-per-node=2', ...rules, ...script], {
    mayLeave: /^torchelastic_/,
  });
  // Its beat is the later one: had rank 1 been watched still, that would have been told before.
  await cli.line(/^regroup: worker 0 .* hangs: no heartbeat/);
  cli.kill('SIGTERM');
  const ended = await cli.ended;

  t.notMatch(ended.stderr, /worker 1 .* hangs/);
});

t.test('F-F04: whoever saves after a notice or a stop is disturbed by no rule', async t => {
  for (const [name, signal] of [
    ['--preempt-signal=SIGUSR2', 'SIGUSR2'],
    ['--signals-to-handle=SIGTERM', 'SIGTERM'],
  ] as const) {
    // The handler saves for longer than the rule allows, and asks for the next signal when it has.
    const source = `
import os, signal, sys, time
def save(*_):
    time.sleep(1.5)
    os.write(1, b"saved\\n")
    os._exit(0)
signal.signal(signal.SIGUSR2, save)
signal.signal(signal.SIGTERM, save)
os.write(1, b"step 1\\n")
while True:
    time.sleep(0.05)
    os.write(1, b"step 2\\n")`;
    const rules = [name, '--hang-silence=2s', '--dump-signal=SIGUSR1'];
    const program = ['--no-python', '/usr/bin/python3', '-c', source];
    const cli = startCli(t, ['--standalone', ...rules, ...program], { mayLeave: /^torchelastic_/ });
    await cli.line(/step 1/);
    cli.kill(signal);
    const ended = await cli.ended;

    t.match(ended.stdout, 'saved', signal);
    t.notMatch(ended.stderr, /stopped writing|workers wait/, signal);
  }
});

t.test('a dump signal that nobody catches is not sent', async t => {
  const rules = ['--hang-silence=2s', '--dump-signal=SIGUSR2'];
  const ended = await run(t, rules, [hangs, 'handler'], { env: { PATH: '/usr/bin:/bin' } });

  t.match(ended.stderr, 'hung (silence)');
});

/** Not py-spy itself, which isn't installed everywhere: what we ask of it, and that we don't wait. */
t.test('pain 17: py-spy is asked where it is on PATH, and not waited for for long', async t => {
  const script = [
    '#!/bin/sh',
    'echo "Thread 1 (idle): \\"MainThread\\""',
    'echo "    all_reduce (x.py:1) $*"',
    'exec sleep 3600',
  ].join('\n');
  const bin = t.testdir({ 'py-spy': script });
  chmodSync(join(bin, 'py-spy'), 0o755);
  const tmp = join(bin, 'logs');
  const args = ['--standalone', `--log-dir=${tmp}`, '--hang-silence=2s', hangs, 'silent'];
  const ended = await runCli(t, args, { env: { PATH: `${bin}:${process.env.PATH}` } });

  t.match(ended.stderr, 'workers wait: rank 0 in all_reduce (x.py:1)');
  t.notMatch(ended.stderr, 'pip install py-spy');
  t.match(stacksOf(ended), /all_reduce \(x.py:1\) dump --pid \d+\n+\(not done after \d+ ms\)/);
});

t.test('--on-hang=notify stops nothing', async t => {
  const rules = ['--hang-silence=2s', '--on-hang=notify'];
  const cli = startCli(t, ['--standalone', ...rules, hangs, 'silent']);
  await cli.line(
    /^regroup: worker 0 .* has stopped writing; it may wait for another: no worker has written/,
  );
  cli.kill('SIGTERM');
  const ended = await cli.ended;

  t.notMatch(ended.stderr, 'workers wait');
  t.notMatch(ended.stderr, 'hung (');
});

t.test('the console shows what workers write, without a prefix', async t => {
  const ended = await run(t, ['--hang-silence=1h'], [resolve('test/fixtures/ends.py'), '0']);

  t.match(ended, { code: 0, stdout: 'rank 0 of attempt 0\n', stderr: '' });
});

t.test('rules that cannot work are refused', async t => {
  const refused = async (args: readonly string[], why: string) => {
    const ended = await runCli(t, ['--standalone', ...args, hangs, 'silent']);
    t.equal(ended.code, 1, args.join(' '));
    t.match(ended.stderr, why);
  };
  await refused(['--expect=x'], "there's no --every");
  await refused(['--every=3s'], "there's no --expect");
  await refused(['--expect=(', '--every=3s'], "isn't a regular expression");
  await refused(['--hang-silence=soon'], 'not a time');
  await refused(['--on-hang=notify'], 'no rule says what a hang is');
});
