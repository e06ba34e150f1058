import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { agentCgroupsOf, cgroupsOf, limited } from '../../cgroups.js';
import { asNobody, type CliOptions, gone, runCli, startCli } from '../../harness.js';

/** Limits that a cgroup has to keep. Version 2 is shown by test/vm/limits.test.ts. */

const uses = (...what: readonly string[]) => [resolve('test/fixtures/uses.py'), ...what];

/** Whether they can be had here; the test is over if not. */
function canLimit(t: Test): boolean {
  if ((process.env.REGROUP_DISABLE ?? '').split(',').includes('cgroup')) {
    t.plan(0, 'cgroups are switched off');
    return false;
  }
  if (limited(t, 'memory', 1 << 30) !== undefined && limited(t, 'pids', 1000) !== undefined)
    return true;
  t.plan(0, 'no cgroups can be made here');
  return false;
}

function run(t: Test, args: readonly string[], options: CliOptions = {}) {
  return runCli(t, ['--standalone', ...args], { mayLeave: /^torchelastic_/, ...options });
}

t.test(
  'pain 14: a worker that meets its own limit of memory is told apart from others',
  async t => {
    if (!canLimit(t)) return;

    const { code, stderr } = await run(t, ['--memory-max=200M', ...uses('memory')]);

    t.equal(code, 1);
    t.match(
      stderr,
      /worker 0: host memory: out of memory, peak (19\d|200) MiB of its own limit 200 MiB/,
    );
    t.match(stderr, /exitcode +: -9/);
  },
);

t.test('pain 14: so is one that fails since its child was killed', async t => {
  if (!canLimit(t)) return;

  const { code, stderr } = await run(t, ['--memory-max=200M', ...uses('memory-of-child')]);

  t.equal(code, 1);
  t.match(stderr, /worker 0: host memory: out of memory, peak \d+ MiB of its own limit 200 MiB/);
});

t.test('a worker that meets its limit of processes is told so', async t => {
  if (!canLimit(t)) return;

  const { code, stderr } = await run(t, ['--pids-max=20', ...uses('threads')]);

  t.equal(code, 1);
  t.match(stderr, /can't start new thread/);
  t.match(stderr, /worker 0: its limit of 20 processes and threads was in the way once/);
});

t.test('a worker gets no more time than its quota', async t => {
  if (!canLimit(t)) return;

  const { code, stdout } = await run(t, ['--cpu-quota=0.25', ...uses('time')]);

  t.equal(code, 0);
  const share = Number(/used (\S+)/.exec(stdout)?.[1]);
  // A worker that starts late in a period has that period's quota for itself.
  t.ok(share > 0 && share < 0.35, `${share} of 0.25`);
});

const all = ['--memory-max=1G', '--pids-max=100', '--cpu-quota=2'];
const ways = ['', 'clone-into-cgroup', 'clone3,clone-into-cgroup,cgroup-kill,pidfd'];
for (const disabled of ways) {
  t.test(
    `each worker has cgroups of its own, and nothing is left of them without ${disabled || 'nothing'}`,
    async t => {
      if (!canLimit(t)) return;
      const run = startCli(t, ['--standalone', '--nproc-per-node=2', ...all, ...uses('nothing')], {
        env: { REGROUP_DISABLE: disabled },
        mayLeave: /^torchelastic_/,
      });
      const lines = [await run.line(/is up/), await run.line(/is up/)].sort();
      const pids = lines.map(line => Number(line.split(' ').at(-1)));
      for (const [rank, pid] of pids.entries()) {
        const own = cgroupsOf(pid);
        for (const controller of ['memory', 'pids', 'cpu']) {
          const [, path] =
            Object.entries(own).find(([names]) => names.split(',').includes(controller)) ?? [];
          t.match(path ?? own[''], new RegExp(`/regroup-[^/]+/worker-${rank}$`), controller);
        }
      }
      const folders = pids.flatMap(agentCgroupsOf);
      t.not(folders.length, 0);

      run.kill('SIGTERM');
      t.equal((await run.ended).code, 1);

      t.same(
        folders.filter(each => existsSync(each)),
        [],
      );
    },
  );
}

t.test('pain 1: nor when the agent is killed', async t => {
  if (!canLimit(t)) return;
  const run = startCli(t, ['--standalone', ...all, ...uses('nothing')], {
    mayLeave: /^torchelastic_/,
  });
  const pid = Number((await run.line(/is up/)).split(' ').at(-1));
  const folders = agentCgroupsOf(pid);
  t.not(folders.length, 0);

  run.kill('SIGKILL');
  await run.ended;

  t.ok(await gone([pid]));
  // The guardian removes them when all are gone, and nothing tells of that but looking.
  while (folders.some(each => existsSync(each))) await new Promise(done => setTimeout(done, 5));
});

t.test('a limit that cannot be had is no start, and says what to do', async t => {
  const args = ['--memory-max=1G', ...uses('nothing')];
  const { code, stdout, stderr } = await run(t, args, { env: { REGROUP_DISABLE: 'cgroup' } });

  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(
    stderr,
    /worker 0 could not start: cgroup controller memory: there is none here; start regroup as root, in a cgroup of its own, such as `systemd-run .*` gives, or without --memory-max/,
  );
});

t.test('a cgroup that is not ours is no place for limits', async t => {
  if (!canLimit(t)) return;
  const python = process.env.REGROUP_PYTHON ?? 'python3';
  const { code, stderr } = await run(t, ['--no-python', '--memory-max=1G', python, '-c', '1'], {
    under: asNobody,
    env: { TMPDIR: '/tmp' },
  });

  t.equal(code, 1);
  t.match(
    stderr,
    /worker 0 could not start: cgroup \/\S+\/regroup-\S+: permission denied; start regroup as root/,
  );
});

t.test('without limits it goes without, and says so to whoever debugs', async t => {
  if (!canLimit(t)) return;
  const job = ['--max-restarts=1', '--no-python', 'sh', '-c', 'exit $((1 - REGROUP_ROUND))'];
  const line = /no cgroup for workers \(\S+\/regroup-\S+: EACCES\)/g;

  const { code, stderr } = await run(t, job, {
    under: asNobody,
    env: { TMPDIR: '/tmp', LOGLEVEL: 'DEBUG' },
  });

  t.equal(code, 0);
  t.equal(stderr.match(line)?.length, 1, stderr);
  const quiet = await run(t, job, { under: asNobody, env: { TMPDIR: '/tmp' } });
  t.notMatch(quiet.stderr, /cgroup/);
});

t.test('memory.high takes version 2', async t => {
  if (!canLimit(t)) return;
  const isOld = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .some(line => /:memory:/.test(line));
  if (!isOld) return void t.plan(0, 'memory has version 2 here');

  const { code, stderr } = await run(t, ['--memory-high=1G', ...uses('nothing')]);

  t.equal(code, 1);
  t.match(stderr, /memory\.high: .*; cgroups of version 1 have no such limit: take --memory-max/);
});
