import { resolve } from 'node:path';
import t from 'tap';
import { limited } from '../../cgroups.js';
import { runCli } from '../../harness.js';

const limit = 256 << 20;

t.test('pain 14: a worker that the kernel kills for lack of memory is reported so', async t => {
  const under = limited(t, 'memory', limit);
  if (under === undefined) return void t.plan(0, 'no memory cgroup can be made here');

  const ended = await runCli(
    t,
    ['--standalone', '--nproc-per-node=2', resolve('test/fixtures/eats_memory.py')],
    {
      under,
      mayLeave: /^torchelastic_/,
    },
  );

  t.match(ended, {
    code: 1,
    stderr: /worker 0: host memory: out of memory, peak 25\d MiB of limit 256 MiB/,
  });
  t.match(ended.stderr, /Root Cause[\s\S]*rank +: 0[\s\S]*exitcode +: -9/);
});
