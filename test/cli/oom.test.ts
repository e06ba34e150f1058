import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { runCli } from '../harness.js';

const limit = 256 << 20;

/** A memory cgroup of the test's own, with a limit; undefined where none can be made. */
function limited(t: Test): string | undefined {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const v1 = mounts.find(line => / - cgroup .*\bmemory\b/.test(line));
  const v2 = mounts.find(line => / - cgroup2 /.test(line));
  const point = (v1 ?? v2)?.split(' ')[4];
  if (point === undefined) return undefined;
  const folder = join(point, `regroup-test-${process.pid}`);
  try {
    mkdirSync(folder);
  } catch {
    return undefined;
  }
  t.teardown(async () => {
    // Its last process may still be on its way out.
    while (readFileSync(join(folder, 'cgroup.procs'), 'utf8') !== '') await sleep(2);
    rmdirSync(folder);
  });
  const files = readdirSync(folder);
  const file = ['memory.max', 'memory.limit_in_bytes'].find(name => files.includes(name));
  if (file === undefined) return undefined;
  writeFileSync(join(folder, file), String(limit));
  return folder;
}

t.test('pain 14: a worker that the kernel kills for lack of memory is reported so', async t => {
  const folder = limited(t);
  if (folder === undefined) return void t.plan(0, 'no memory cgroup can be made here');

  const ended = await runCli(
    t,
    ['--standalone', '--nproc-per-node=2', resolve('test/fixtures/eats_memory.py')],
    {
      under: ['sh', '-c', `echo $$ >${folder}/cgroup.procs && exec "$@"`, 'sh'],
      mayLeave: /^torchelastic_/,
    },
  );

  t.match(ended, {
    code: 1,
    stderr: /worker 0: host memory: out of memory, peak 25\d MiB of limit 256 MiB/,
  });
  t.match(ended.stderr, /Root Cause[\s\S]*rank +: 0[\s\S]*exitcode +: -9/);
});
