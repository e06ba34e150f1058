import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createFound, type Found } from '../../lib/rendezvous/found.js';
import type { Together } from '../../lib/rendezvous/together.js';
import { type Deferred, deferred } from '../../lib/util/deferred.js';

// What is asked of a rendezvous while it's looked for, in order.

function search(begin?: () => Together) {
  const said: string[] = [];
  const found: Deferred<Found> = deferred();
  const say = (what: string) => () => void said.push(what);
  const together: Together = {
    fenced: say('fenced'),
    serves: () => true,
    join: say('join'),
    announce: say('announce'),
    report: say('report'),
    succeed: say('succeed'),
    leave: say('leave'),
    conclude: say('conclude'),
    close: async () => void said.push('close'),
  };
  const rendezvous = createFound(
    () => {
      said.push('look');
      return found.promise;
    },
    error => said.push(`failed: ${error instanceof Error ? error.message : error}`),
  );
  const closed = deferred<void>();
  const there: Found = {
    begin: begin ?? (() => together),
    async close() {
      said.push('dropped');
      closed.resolve();
    },
  };
  return { said, rendezvous, found, there, closed: closed.promise };
}

t.test('what is asked before it is found is asked then, in order', async t => {
  const { said, rendezvous, found, there } = search();
  t.notOk(rendezvous.serves(0));
  rendezvous.join();
  rendezvous.leave();
  rendezvous.join();
  t.strictSame(said.splice(0), ['look']);

  found.resolve(there);
  await found.promise;
  await new Promise(setImmediate);

  t.strictSame(said.splice(0), ['join', 'leave', 'join']);
  t.ok(rendezvous.serves(0));
  await rendezvous.close();
  t.strictSame(said, ['close']);
});

t.test('R-043 the time to join goes on while it is looked for', async t => {
  const { rendezvous, found, there } = search();
  const begun: Deferred<number> = deferred();
  rendezvous.join();
  await sleep(50);

  found.resolve({
    ...there,
    begin(soughtMs) {
      begun.resolve(soughtMs);
      return there.begin(soughtMs);
    },
  });

  t.ok((await begun.promise) >= 49); // Node's timers may be a fraction of a millisecond early
});

t.test("R-043 what is found after the end is dropped, and its failure is nobody's", async t => {
  const late = search();
  late.rendezvous.join();
  // The search has its answer, and nobody has heard of it yet.
  late.found.resolve(late.there);
  await late.rendezvous.close();
  await late.closed;
  t.strictSame(late.said, ['look', 'dropped']);

  const lost = search();
  lost.rendezvous.join();
  await lost.rendezvous.close();
  lost.found.reject(new Error('nobody'));
  await new Promise(setImmediate);
  t.strictSame(lost.said, ['look']);
});

t.test("what can't begin is dropped, and told", async t => {
  const { said, rendezvous, found, there, closed } = search(() => {
    throw new Error('refused');
  });
  rendezvous.join();
  found.resolve(there);
  await closed;
  await new Promise(setImmediate);
  t.strictSame(said, ['look', 'dropped', 'failed: refused']);
});
