import { accessSync, constants, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, type Ended, runCli } from '../../harness.js';
import { releases, root, type Torch, torchOrSkip } from '../torch.js';

// Timers of real clients. Nothing but what is under test ends these workers.

t.setTimeout(550_000);

function run(
  t: Test,
  torch: Torch,
  how: string,
  options: CliOptions & { readonly nproc?: number } = {},
): Promise<Ended> {
  const { nproc = 2, env, ...rest } = options;
  const args = ['--standalone', `--nproc-per-node=${nproc}`, '--max-restarts=1'];
  return runCli(t, [...args, join(root, 'test/interop/timers/file_timer.py'), how], {
    ...rest,
    env: { PYTHON_EXEC: torch.python, TORCHELASTIC_ENABLE_FILE_TIMER: '1', ...env },
  });
}

for (const release of releases) {
  t.test(
    `L-097 L-098 L-099 PyTorch ${release}: a timer that is not released ends its worker, after stacks, and the job goes on`,
    async t => {
      const torch = torchOrSkip(t, release);
      if (!torch) return;
      const path = join(t.testdir(), 'timer');
      writeFileSync(path, 'of mktemp');

      const ended = await run(t, torch, 'nonsense', { env: { TORCHELASTIC_TIMER_FILE: path } });

      t.equal(ended.code, 0) || t.comment(ended.stderr);
      t.match(
        ended.stderr,
        /worker 1 \(local 1, pid \d+\) has let a timer expire, "the slow part"; it gets SIGKILL when stacks are taken\n(.*\n)*?regroup: workers wait: (.*\n)*?regroup: worker 1 .*SIGKILL/,
      );
      t.match(ended.stdout, /(rank [01]: is done in time\n(.*\n)*){3}/);
      const once = ["a request that isn't one", 'a timer of process \\d+ is ignored'];
      for (const line of once) t.equal(ended.stderr.match(new RegExp(line, 'g'))?.length, 1, line);
      t.notOk(existsSync(path), 'the pipe is removed');
    },
  );
}

t.test(
  'L-097 a timer without a signal is told only, and another signal than SIGKILL is sent',
  async t => {
    const torch = torchOrSkip(t, 'newest');
    if (!torch) return;

    const ended = await run(t, torch, 'signal-0', { nproc: 1 });

    t.equal(ended.code, 0) || t.comment(ended.stderr);
    t.match(ended.stderr, /has let a timer expire, "quiet"; no signal is asked for/);
    t.match(ended.stderr, /has let a timer expire, "the slow part"; it gets SIGUSR1/);
    t.match(ended.stdout, /rank 0: got SIGUSR1/);
  },
);

t.test('L-097 a timer of a process whose pid is another one by now hits nobody', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  try {
    accessSync('/proc/sys/kernel/ns_last_pid', constants.W_OK);
  } catch {
    return t.plan(0, 'nobody here can choose the next pid');
  }

  const ended = await run(t, torch, 'reused', { nproc: 1 });

  t.equal(ended.code, 0) || t.comment(ended.stderr);
  t.match(
    ended.stderr,
    /a timer of process \d+ is ignored: that has ended, and its pid is another's/,
  );
  t.match(ended.stdout, /rank 0: got SIGUSR1/);
  t.notMatch(ended.stderr, /"forged"; it gets SIGKILL/);
});

t.test('a timer of what a worker has started ends the worker', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;

  const ended = await run(t, torch, 'child');

  t.equal(ended.code, 0) || t.comment(ended.stderr);
  t.match(ended.stderr, /worker 1 .* has let a timer expire, "forged"; it gets SIGKILL/);
});
