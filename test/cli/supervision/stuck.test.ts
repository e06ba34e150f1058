import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type CliRun, startCli } from '../../harness.js';

/** What's frozen there sleeps in the kernel, deaf to SIGKILL, like a process that waits for a dead disk. */
const freezers = '/sys/fs/cgroup/freezer';
const canFreeze = process.getuid?.() === 0 && existsSync(`${freezers}/cgroup.procs`);
const skip = canFreeze ? false : 'needs root and the freezer of cgroup v1';

/** Needs CAP_SYS_ADMIN, which root in a container lacks. */
const canReadStacks = spawnSync('cat', ['/proc/self/stack']).status === 0;

/** In `$$$$` the entry point's macros leave the shell's own `$$`. */
const waits = ['--no-python', 'sh', '-c', 'echo frozen soon $$$$; exec sleep 1000'];

/** Freezes the only worker; returns what thaws it. */
async function freeze(t: Test, run: CliRun): Promise<() => void> {
  const folder = `${freezers}/regroup-test-${process.pid}-${run.pid}`;
  const pid = (await run.line(/^frozen soon/)).split(' ')[2] ?? '';
  mkdirSync(folder);
  const thaw = () => writeFileSync(`${folder}/freezer.state`, 'THAWED');
  t.teardown(async () => {
    thaw();
    while (readFileSync(`${folder}/cgroup.procs`, 'utf8') !== '') await sleep(2);
    rmdirSync(folder);
  });
  writeFileSync(`${folder}/cgroup.procs`, pid);
  writeFileSync(`${folder}/freezer.state`, 'FROZEN');
  while (readFileSync(`${folder}/freezer.state`, 'utf8') !== 'FROZEN\n') await sleep(2);
  return thaw;
}

// Both wait for as long as a killed process may take to go, so they do it together.
t.test('a worker that nobody can kill', { skip, jobs: 2 }, async t => {
  for (const [name, args, signal, last] of [
    ['a handled signal', [], 'SIGTERM', /SignalException: Process \d+ got signal: 15\n$/],
    [
      'a preemption',
      ['--preempt-signal=SIGUSR1', '--preempt-limit=0.1'],
      'SIGUSR1',
      /preempted; exit code 83\n$/,
    ],
  ] as const) {
    t.test(`pain 11: the exit code says that the node is unfit after ${name}`, async t => {
      const run = startCli(t, ['--standalone', '--shutdown-timeout=1', ...args, ...waits]);
      const thaw = await freeze(t, run);

      run.kill(signal);
      await run.line(/can't be killed: it's stuck in the kernel/);
      if (canReadStacks) await run.line(/^ {2}thread \d+ \((sh|sleep)\):$/);
      thaw();

      const { code, stderr } = await run.ended;
      t.equal(code, exitCodes.nodeUnfit);
      t.match(stderr, last);
    });
  }
});
