import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { limited } from '../../cgroups.js';
import { type CliRun, isAlive, startCli } from '../../harness.js';
import { processesWith } from '../../processes.js';
import { ready } from './ready.js';

/**
 * Machines that have run out of something, beside torture.test.ts: the agent keeps its word with
 * no process, no memory, no descriptor and no room on the disk to be had. The harness fails a test
 * that leaves a process or a file.
 */

t.setTimeout(850_000);

const scarce = resolve('test/fixtures/scarce.py');
const ends = resolve('test/fixtures/ends.py');
const isRoot = process.getuid?.() === 0;
const modes = (process.env.REGROUP_DISABLE ?? '') === '' ? ['', 'cgroup'] : [''];

/** The round's processes, children that its workers have forked among them. */
function withCookie(cookie: string): number[] {
  return processesWith(`REGROUP_COOKIE=${cookie}`);
}

async function nobodyIsLeft(cookie: string): Promise<void> {
  // Nothing tells of a stranger's end but looking. The test's time limit bounds it.
  while (withCookie(cookie).length > 0) await sleep(20);
}

function start(t: Test, under: readonly string[], mode: string, args: readonly string[]): CliRun {
  const env = mode === '' ? {} : { REGROUP_DISABLE: mode };
  return startCli(t, ['--standalone', '--nproc-per-node=2', ...args], { env, under });
}

for (const mode of modes) {
  t.test(mode === '' ? 'all features' : `without ${mode}`, async t => {
    for (const [name, signal, expect] of [
      ['the agent gets SIGTERM', 'SIGTERM', { code: 1, signal: null }],
      ['the agent is killed', 'SIGKILL', { code: null, signal: 'SIGKILL' }],
    ] as const) {
      t.test(`pain 1: a fork bomb, and no process to be had: ${name}`, async t => {
        const under = limited(t, 'pids', 200);
        if (under === undefined) return void t.plan(0, 'no pids cgroup can be made here');
        const run = start(t, under, mode, [
          '--shutdown-timeout=0',
          `--log-dir=${t.testdir()}`,
          scarce,
          'bomb',
        ]);
        const { cookie } = await ready(run, 2);
        // The limit is reached: nobody can be started any more.
        let isOver = false;
        void run.ended.then(() => {
          isOver = true;
        });
        while (!isOver && withCookie(cookie).length < 100) await sleep(5);
        // What the agent does by itself some time after a start comes to no thread.
        await sleep(3000);
        t.notOk(isOver, 'it goes on');

        run.kill(signal);

        t.match(await run.ended, expect);
        await nobodyIsLeft(cookie);
      });
    }

    t.test('pain 1: no memory: the kernel kills a worker, and the other is stopped', async t => {
      const under = limited(t, 'memory', 256 << 20);
      if (under === undefined) return void t.plan(0, 'no memory cgroup can be made here');
      const run = start(t, under, mode, [scarce, 'eats']);
      const { pids, cookie } = await ready(run, 2);

      const { code, stderr } = await run.ended;

      t.equal(code, 1);
      t.match(stderr, /worker 0: host memory: out of memory, peak 25\d MiB of limit 256 MiB/);
      t.match(stderr, /Root Cause[\s\S]*rank +: 0[\s\S]*exitcode +: -9/);
      t.notOk(pids.some(isAlive));
      await nobodyIsLeft(cookie);
    });

    t.test(
      'a full disk for logs: lost lines are counted, and the job succeeds',
      { skip: isRoot ? false : 'needs root to mount a small one' },
      async t => {
        const logs = t.testdir();
        const mount = `mount -t tmpfs -o size=100k none ${logs} && exec "$@"`;
        const under = ['unshare', '--mount', 'sh', '-c', mount, 'sh'];
        const args = [`--log-dir=${logs}`, '--redirects=1', '--tee=1', scarce, 'talks'];
        const run = start(t, under, mode, args);

        const { code, stdout, stderr } = await run.ended;

        t.equal(code, 0);
        t.match(stderr, /output of worker \d can't be written to \S+stdout\.log: ENOSPC/);
        t.equal(stdout.match(/x{99}$/gm)?.length, 4000, 'the console has them all');
      },
    );

    t.test('nobody reads stdout any more: the job goes on, and its logs are whole', async t => {
      const logs = t.testdir();
      const under = ['bash', '-c', '"$@" | true; exit ${PIPESTATUS[0]}', 'bash'];
      const run = start(t, under, mode, [`--log-dir=${logs}`, '--tee=1', scarce, 'talks']);

      const { code, stderr } = await run.ended;

      t.equal(code, 0);
      t.match(stderr, /output of worker \d can't be written to stdout: EPIPE/);
      const files = readdirSync(logs, { recursive: true, encoding: 'utf8' });
      const outputs = files.filter(path => path.endsWith('stdout.log'));
      const lines = outputs.map(path => readFileSync(join(logs, path), 'utf8').split('\n').length);
      t.same(lines, [2001, 2001]);
    });

    t.test('no process to be had: one clear error', async t => {
      // Enough for Node and the guardian, not for all workers.
      const under = limited(t, 'pids', 30);
      if (under === undefined) return void t.plan(0, 'no pids cgroup can be made here');
      const env = mode === '' ? {} : { REGROUP_DISABLE: mode };
      const run = startCli(t, ['--nproc-per-node=40', ends, '0'], { env, under });

      const { code, stderr } = await run.ended;

      t.equal(code, 1);
      t.match(stderr, /worker \d+ could not start: .*resource temporarily unavailable/);
    });

    t.test('no descriptor to be had: one clear error', async t => {
      // Each worker's pipes and, where there are any, its pidfd.
      const under = ['prlimit', '--nofile=60:60'];
      const env = mode === '' ? {} : { REGROUP_DISABLE: mode };
      const run = startCli(
        t,
        ['--nproc-per-node=40', `--log-dir=${t.testdir()}`, '--tee=3', ends, '0'],
        { env, under },
      );

      const { code, stderr } = await run.ended;

      t.equal(code, 1);
      t.match(stderr, /worker \d+ could not start: .*too many open files/);
    });
  });
}
