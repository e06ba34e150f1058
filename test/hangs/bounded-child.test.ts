import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runBounded } from '../../lib/hangs/bounded-child.js';

const longMs = 600_000;

t.test('what a child prints is given, and what it has printed when its time is over', async t => {
  t.equal(await runBounded('/bin/echo', ['a'], longMs), 'a\n');
  t.match(await runBounded('/bin/sleep', ['3600'], 1), /not done after 1 ms/);
  t.match(await runBounded('/no/program', [], longMs), /ENOENT/);
});

t.test('F-F04: it is ended when nobody is to be disturbed any more', async t => {
  const pipe = join(t.testdir({}), 'pipe');
  spawnSync('mkfifo', [pipe]);
  const stop = new AbortController();
  // Held open by all of the group, so that it ends with the last of them.
  const script = 'exec 3>"$0"; echo >&3; sleep 3600';
  const running = runBounded('/bin/sh', ['-c', script, pipe], longMs, stop.signal);
  const held = createReadStream(pipe);
  await once(held, 'data');

  stop.abort();

  t.match(await running, /not done: /);
  await once(held.resume(), 'end');
  t.equal(await runBounded('/bin/echo', ['a'], longMs, stop.signal), '', 'nor is one started');
});

t.test('F-F04: it is not started if that comes while it is about to', async t => {
  const stop = new AbortController();
  const running = runBounded('/bin/echo', ['a'], longMs, stop.signal);
  stop.abort();

  t.equal(await running, '');
});
