import { resolve } from 'node:path';
import t from 'tap';
import { gone, isAlive, startCli } from '../../harness.js';

/** What users of launchers suffer from, where no other test is about just that. */

t.test('pain 4: a loader lives until its trainer has saved', async t => {
  const run = startCli(t, ['--standalone', resolve('test/fixtures/saves_with_loader.py')]);
  await run.line(/^ready/);

  run.kill('SIGTERM');

  t.match((await run.ended).stdout, /^saved batch$/m);
});

t.test('pain 30: a child of ours that we have not started is left alone', async t => {
  // The shell has one, then becomes the agent.
  const script = 'sleep 1000 >/dev/null 2>&1 & echo stranger $!; exec "$@"';
  const run = startCli(t, ['--standalone', '--no-python', 'sh', '-c', 'echo up; exec sleep 1000'], {
    under: ['sh', '-c', script, 'sh'],
    mayLeave: /^torchelastic_/,
  });
  const stranger = Number((await run.line(/^stranger/)).split(' ')[1]);
  t.teardown(() => isAlive(stranger) && process.kill(stranger, 'SIGKILL'));
  await run.line(/^up/);

  run.kill('SIGTERM');
  t.equal((await run.ended).code, 1);

  t.ok(isAlive(stranger));
  process.kill(stranger, 'SIGKILL');
  t.ok(await gone([stranger]));
});
