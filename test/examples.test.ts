import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { guarded, runCli } from './harness.js';

t.test('hello.py greets from every rank, without torch', async t => {
  const { code, stdout, stderr } = await runCli(t, [
    '--standalone',
    '--nproc-per-node=3',
    'examples/hello.py',
  ]);

  t.equal(code, 0, stderr);
  for (const rank of [0, 1, 2]) t.match(stdout, `hello from rank ${rank} of 3`);
});

t.test('embed.mjs launches workers from a program', async t => {
  const { env, tmp } = guarded(t);
  const child = spawn(process.execPath, ['examples/embed.mjs'], {
    env: { ...env, TMPDIR: tmp },
    stdio: ['ignore', 'pipe', 'inherit'],
  });

  const [printed, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);

  t.equal(code, 0);
  t.match(printed, /hello from rank 0 of 2/);
  t.match(printed, /\nsucceeded\n$/);
});
