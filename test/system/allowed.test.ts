import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { allowedOf } from '../../lib/system/allowed.js';

t.test('pain 19: what a process may use is told, and narrowed by its affinity', async t => {
  const ours = allowedOf('self');
  const cpu = /^\d+/.exec(ours?.cpus ?? '')?.[0] ?? '';
  const bound = spawn('taskset', ['-c', cpu, 'cat']);
  t.teardown(() => bound.kill('SIGKILL'));
  // Once cat has echoed, taskset has done its work.
  bound.stdin.write('ready\n');
  await once(bound.stdout, 'data');

  t.same(allowedOf(bound.pid ?? 0), { cpus: cpu, memoryNodes: ours?.memoryNodes });

  bound.stdin.end();
  await once(bound, 'close');
});

t.test('nothing is told of a process that is gone', async t => {
  const { pid } = spawnSync('true');

  t.equal(allowedOf(pid), undefined);
});
