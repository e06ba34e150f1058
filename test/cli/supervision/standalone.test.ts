import { resolve } from 'node:path';
import t from 'tap';
import { runCli, startCli } from '../../harness.js';

const waits = resolve('test/fixtures/waits.py');
const ends = resolve('test/fixtures/ends.py');

t.test('L-031 two --standalone jobs run side by side on one host', async t => {
  const args = ['--standalone', '--nproc-per-node=2', waits];
  const jobs = [startCli(t, args), startCli(t, args)];

  // Each has its workers up while the other has, too.
  for (const job of jobs) await Promise.all([job.line(/worker 0 is/), job.line(/worker 1 is/)]);
  for (const job of jobs) job.kill('SIGTERM');

  for (const job of jobs) t.match(await job.ended, { code: 1, signal: null });
});

t.test('L-115 events and metrics are silent by default', async t => {
  const ended = await runCli(t, ['--standalone', ends, '0']);

  t.match(ended, { code: 0, stderr: '' });
  t.notMatch(ended.stdout, /torchelastic|\{/);
});
