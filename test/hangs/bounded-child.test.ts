import { spawnSync } from 'node:child_process';
import t from 'tap';
import { runBounded } from '../../lib/hangs/bounded-child.js';

const longMs = 600_000;

t.test('what a child prints is given, and what it has printed when its time is over', async t => {
  t.equal(await runBounded('/bin/echo', ['a'], longMs), 'a\n');
  t.match(await runBounded('/bin/sleep', ['3600'], 1), /not done after 1 ms/);
  t.match(await runBounded('/no/program', [], longMs), /ENOENT/);
});

t.test('F-F04: it is ended when nobody is to be disturbed any more', async t => {
  const stop = new AbortController();
  const running = runBounded('/bin/sleep', ['3600.4242'], longMs, stop.signal);

  stop.abort();

  t.match(await running, /not done/);
  t.equal(await runBounded('/bin/sleep', ['3600.4242'], longMs, stop.signal), '', 'or not started');
  t.equal(spawnSync('pgrep', ['-f', '^/bin/sleep 3600.4242']).status, 1, 'and none is left');
});
