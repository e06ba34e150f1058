import t from 'tap';
import { timerTable } from '../../lib/timers/table.js';

/** What it's asked for, in words: `PID SCOPE SECONDS SIGNAL`; SECONDS below 0 releases. */
function tableOf(...requests: readonly string[]) {
  const table = timerTable();
  for (const each of requests) {
    const [pid = '', scope = '', seconds = '', signal = '9'] = each.split(' ');
    table.take(
      { pid: Number(pid), scope, expiresAtMs: Number(seconds) * 1000, signal: Number(signal) },
      'worker',
    );
  }
  return table;
}

t.test('L-097 a timer expires at its time, and with it all of its process', t => {
  const table = tableOf('7 a 10', '7 b 99', '8 a 20');

  t.equal(table.nextAtMs(), 10_000);
  t.same(table.due(9999), []);
  t.same(table.due(10_000), [{ pid: 7, which: 'worker', scope: 'a', signal: 9 }]);
  t.equal(table.nextAtMs(), 20_000);
  t.same(table.due(99_000), [{ pid: 8, which: 'worker', scope: 'a', signal: 9 }]);
  t.equal(table.nextAtMs(), undefined);
  t.end();
});

t.test('L-097 one that wants no signal expires alone', t => {
  const table = tableOf('7 a 10 0', '7 b 20');

  t.same(table.due(10_000), [{ pid: 7, which: 'worker', scope: 'a' }]);
  t.equal(table.nextAtMs(), 20_000);
  t.same(table.due(20_000), [{ pid: 7, which: 'worker', scope: 'b', signal: 9 }]);
  t.equal(table.nextAtMs(), undefined);
  t.end();
});

t.test('L-097 a timer that is released, or started anew, does not expire', t => {
  const table = tableOf('7 a 10', '7 b 10', '7 a -1 0', '7 b 30', '9 z -1 0');

  t.same(table.due(29_000), []);
  t.same(table.due(30_000), [{ pid: 7, which: 'worker', scope: 'b', signal: 9 }]);
  t.end();
});

t.test('L-097 of several that have expired the first with a signal counts', t => {
  t.same(tableOf('7 a 10 0', '7 c 30 15', '7 b 20 9').due(40_000), [
    { pid: 7, which: 'worker', scope: 'b', signal: 9 },
  ]);
  t.same(tableOf('7 a 10 0', '7 b 9 -1').due(40_000), [{ pid: 7, which: 'worker', scope: 'b' }]);
  t.end();
});

t.test('a process that never releases is refused some day, and strangers before workers', t => {
  const table = timerTable();
  const request = { pid: 1, scope: '', expiresAtMs: 1000, signal: 9 };
  const refused = (more: object, isWorker: boolean) =>
    !table.take({ ...request, ...more }, isWorker ? 'worker' : 'unknown');

  let count = 0;
  while (!refused({ scope: `s${count}` }, true)) count++;
  t.equal(count, 1024);
  t.notOk(refused({ scope: 's0' }, true), 'one that it has may be started anew');
  let pid = 2;
  while (!refused({ pid }, false)) pid++;
  t.equal(pid, 4098);
  t.notOk(refused({ pid }, true));
  table.clear();
  t.same(table.due(2000), []);
  t.end();
});

t.test('timers of a process go when another has its number', t => {
  const table = timerTable();
  const request = { pid: 7, scope: 'a', expiresAtMs: 1000, signal: 9 };

  table.take(request, 100);
  table.take({ ...request, scope: 'b' }, 100);
  table.take({ ...request, scope: 'c', expiresAtMs: 2000 }, 200);
  t.equal(table.which(7), 200);
  t.same(table.due(1000), []);
  table.take({ ...request, expiresAtMs: -1 });
  t.same(table.due(2000), [{ pid: 7, which: 200, scope: 'c', signal: 9 }]);
  t.equal(table.which(7), undefined);
  t.end();
});
