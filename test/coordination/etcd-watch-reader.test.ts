import t from 'tap';
import { createWatchReader, type Reading } from '../../lib/coordination/etcd/watch-reader.js';
import type { WatchMessage } from '../../lib/coordination/etcd/wire.js';
import { revisionOf } from './recorder.js';

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A message that tells of a change in each of these revisions. */
function message(revisions: readonly number[], rest: Partial<WatchMessage> = {}): WatchMessage {
  const events = revisions.map(revision => ({
    kv: { key: base64('a'), mod_revision: `${revision}` },
  }));
  return { header: { revision: '1000' }, events, ...rest };
}

function told(reading: Reading): readonly number[] {
  return 'told' in reading ? reading.told.map(revisionOf) : [];
}

t.test('what comes is told, and what was told is not told again', async t => {
  const reader = createWatchReader('watch', 5);

  t.strictSame(told(reader.read({ header: { revision: '1000' }, created: true })), []);
  t.equal(reader.next(), 5);
  t.strictSame(told(reader.read(message([3, 4, 5, 5, 8]))), [5, 5, 8]);
  t.equal(reader.next(), 9);
  t.strictSame(told(reader.read(message([8, 9]))), [9]);
  t.strictSame(told(reader.read(message([2]))), []);
  t.equal(reader.next(), 10);
});

t.test('a revision that comes in pieces is told undivided', async t => {
  const reader = createWatchReader('watch', 5);

  t.strictSame(told(reader.read(message([5, 6], { fragment: true }))), [5]);
  t.strictSame(told(reader.read(message([6, 6], { fragment: true }))), []);
  t.equal(reader.next(), 6);
  t.strictSame(told(reader.read(message([6, 7, 7]))), [6, 6, 6, 6, 7, 7]);
  t.equal(reader.next(), 8);
});

t.test('pieces of a stream that ended are forgotten: the next one begins there', async t => {
  const reader = createWatchReader('watch', 5);

  t.strictSame(told(reader.read(message([5, 5], { fragment: true }))), []);
  reader.restart();
  t.equal(reader.next(), 5);
  t.strictSame(told(reader.read(message([5, 5, 5]))), [5, 5, 5]);
});

t.test('a notification of progress moves it on, but never back, nor over pieces', async t => {
  const reader = createWatchReader('watch', 5);

  reader.read({ header: { revision: '20' } });
  t.equal(reader.next(), 21);
  reader.read({ header: { revision: '7' } });
  t.equal(reader.next(), 21);
  reader.read(message([30], { fragment: true }));
  reader.read({ header: { revision: '40' } });
  t.equal(reader.next(), 21);
});

t.test('compaction ends it, with or without other words', async t => {
  for (const rest of [{ canceled: true }, { created: true, canceled: true }, {}]) {
    const reading = createWatchReader('watch of "a"', 5).read({ compact_revision: '9', ...rest });

    t.match(reading, {
      ended: { code: 'COMPACTED', message: /^watch of "a": .* from revision 9 .* revision 5 / },
    });
  }
  t.match(createWatchReader('watch', 5).read({ canceled: true }), { cancelled: /no reason/ });
});
