import { cpSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { agentCgroupsOf } from '../../cgroups.js';
import { type CliRun, gone, isAlive, startCli } from '../../harness.js';
import { childrenOf, commandLineOf } from '../../processes.js';

const family = resolve('test/fixtures/family.py');

function guardiansOf(run: CliRun): number[] {
  return childrenOf(run.pid).filter(pid => commandLineOf(pid) === 'regroup-guardian\0');
}

function guardianOf(run: CliRun): number {
  const [guardian, ...others] = guardiansOf(run);
  if (guardian === undefined || others.length > 0) throw new Error('not one guardian');
  return guardian;
}

async function relativeOf(run: CliRun): Promise<number> {
  return Number(/pid (\d+)/.exec(await run.line(/relative is ready/))?.[1]);
}

for (const how of ['child', 'group', 'daemon']) {
  for (const signal of ['SIGKILL', 'SIGSEGV', 'SIGABRT'] as const) {
    t.test(`pain 1: a ${how} of a worker dies with an agent that ends by ${signal}`, async t => {
      const run = startCli(t, ['--standalone', family, how, 'wait', 'stubborn'], {
        under: ['prlimit', '--core=0'],
        mayLeave: /^torchelastic_/,
      });
      const relative = await relativeOf(run);
      const guardian = guardianOf(run);

      run.kill(signal);
      await run.ended;

      t.ok(await gone([relative, guardian]));
    });
  }
}

t.test('pain 31: an agent that is stopped, then killed, leaves nothing either', async t => {
  const run = startCli(t, ['--standalone', family, 'daemon', 'wait'], {
    mayLeave: /^torchelastic_/,
  });
  const relative = await relativeOf(run);
  const guardian = guardianOf(run);

  run.kill('SIGSTOP');
  t.ok(isAlive(relative), 'a stopped agent may go on');
  run.kill('SIGKILL');
  await run.ended;

  t.ok(await gone([relative, guardian]));
});

t.test(
  'what a worker hides is found: a hundred daemons, and those without its environment',
  async t => {
    const script = `
    for i in $(seq 100); do setsid -f sleep 1000 </dev/null >/dev/null 2>&1; done
    env -i sleep 1000 & set -m; env -i sleep 1000 &
    echo pids $(jobs -p); exec sleep 1000`;
    const run = startCli(t, ['--standalone', '--no-python', 'bash', '-c', script], {
      mayLeave: /^torchelastic_/,
    });
    const pids = (await run.line(/^pids/)).split(' ').slice(1).map(Number);
    t.equal(pids.length, 2);
    const guardian = guardianOf(run);

    run.kill('SIGKILL');
    await run.ended;

    // The daemons are found by the harness, which fails the test for any that lives.
    t.ok(await gone([...pids, guardian]));
  },
);

t.test('a guardian that was killed is replaced in the next round', async t => {
  const script = `
    [ "$TORCHELASTIC_RESTART_COUNT" = 1 ] || { echo first; read; exit 5; }
    setsid -f sleep 1000 </dev/null >/dev/null 2>&1; echo second; exec sleep 1000`;
  const run = startCli(
    t,
    ['--standalone', '--max-restarts=1', '--no-python', 'bash', '-c', script],
    { mayLeave: /^torchelastic_/, typing: true },
  );
  await run.line(/^first/);
  const first = guardianOf(run);
  process.kill(first, 'SIGKILL');
  run.type('go\n');
  await run.line(/^second/);
  const second = guardianOf(run);
  t.not(second, first);

  run.kill('SIGKILL');
  await run.ended;

  t.ok(await gone([second]));
});

t.test('the guardian ignores what ends others, and goes when the agent does', async t => {
  const run = startCli(t, ['--standalone', '--no-python', 'bash', '-c', 'echo up; read'], {
    typing: true,
  });
  await run.line(/^up/);
  const guardian = guardianOf(run);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGPIPE'] as const)
    process.kill(guardian, signal);
  t.ok(isAlive(guardian));
  const status = readFileSync(`/proc/${guardian}/stat`, 'utf8').split(' ');
  t.equal(Number(status[5]), guardian, 'it leads a session of its own');

  run.type('go\n');
  t.match(await run.ended, { code: 0, stderr: '' });
  t.ok(await gone([guardian]));
});

t.test('REGROUP_DISABLE=guardian does without; workers still die with their agent', async t => {
  const run = startCli(
    t,
    ['--standalone', '--no-python', 'bash', '-c', 'echo up $$$$; exec sleep 1000'],
    {
      env: { REGROUP_DISABLE: 'guardian' },
      mayLeave: /^torchelastic_/,
    },
  );
  const worker = Number((await run.line(/^up/)).split(' ')[1]);
  t.strictSame(guardiansOf(run), []);
  t.ok(isAlive(worker));
  const cgroups = agentCgroupsOf(worker);

  run.kill('SIGKILL');
  await run.ended;

  t.ok(await gone([worker]));
  // Nobody is left who would.
  for (const cgroup of cgroups) rmdirSync(cgroup);
});

t.test('a guardian that cannot be started is told once, and the job runs', async t => {
  const root = t.testdir();
  mkdirSync(join(root, 'build/Release'), { recursive: true });
  cpSync(resolve('build/Release/regroup.node'), join(root, 'build/Release/regroup.node'));
  const run = startCli(t, ['--standalone', '--no-python', 'true'], {
    env: { REGROUP_PREBUILD: root },
  });
  const { code, stderr } = await run.ended;

  t.equal(code, 0);
  t.match(stderr, /no guardian \(execve: ENOENT\): should regroup be killed, what its workers/);
});
