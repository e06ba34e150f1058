import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import {
  type Coordination,
  CoordinationError,
  type WatchEvent,
} from '../../lib/coordination/coordination.js';
import { connectServer } from '../../lib/coordination/server.js';
import { conformance } from './conformance.js';
import { startOwnServer } from './own-server.js';

// Our own server and its client, when connections break and servers come and go. What every engine does is in
// conformance.ts. R-051.

/** Longer than anything here takes, on whatever machine. */
const patienceMs = 60_000;

async function connectTo(t: Test, port: number, timeoutMs = patienceMs): Promise<Coordination> {
  const client = await connectServer({ host: '127.0.0.1', port, timeoutMs });
  t.teardown(() => client.close());
  return client;
}

/** What a watch tells, in order, and how it ends. */
function watchAll(client: Coordination, prefix: string, from = 1) {
  const events: WatchEvent[] = [];
  let look = () => {};
  let end: (error: CoordinationError) => void = () => {};
  const ended = new Promise<CoordinationError>(resolve => {
    end = resolve;
  });
  const watch = client.watch(prefix, from, {
    changed(more) {
      events.push(...more);
      look();
    },
    ended: end,
  });
  return {
    events,
    ended,
    close: () => watch.close(),
    async until(holds: (events: readonly WatchEvent[]) => boolean): Promise<void> {
      while (!holds(events)) {
        await new Promise<void>(resolve => {
          look = resolve;
        });
      }
    },
  };
}

/** The error's code, and whether what was asked for may have happened. */
async function failing(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'it did not fail';
  } catch (error) {
    if (!(error instanceof CoordinationError)) throw error;
    return error.isUncertain ? `${error.code}?` : error.code;
  }
}

const isDeletion = (events: readonly WatchEvent[]) => events.some(({ type }) => type === 'delete');

t.test('our server is an engine as any other', async t => {
  const server = await startOwnServer(t);
  await conformance(t, {
    connect: () => connectServer({ host: '127.0.0.1', port: server.port, timeoutMs: patienceMs }),
    // What is lost is the connections; a server that is really another one has none of its keys.
    async restart() {
      server.cut();
    },
  });
});

t.test('what only asks is asked again when its connection breaks', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  await client.put('a', '1');
  const lease = await client.lease(3_600_000);
  server.hold();

  const snapshot = client.get('');
  const renewed = lease.renew();
  server.cut();
  server.release();

  t.match(await snapshot, { revision: 1, entries: [{ key: 'a', value: '1' }] });
  await renewed;
});

t.test('a change whose connection breaks is never made twice, and may have been made', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  await client.put('a', '1');
  server.hold();

  const lost = failing(client.put('a', '2'));
  server.cut();
  server.release();

  t.equal(await lost, 'UNAVAILABLE?');
  t.match(await client.get('a'), { revision: 1, entries: [{ value: '1' }] });
});

t.test(
  'R-051: a watch goes on over broken connections, with nothing twice or left out',
  async t => {
    const server = await startOwnServer(t);
    const watcher = await connectTo(t, server.port);
    const writer = await connectTo(t, server.ownPort);
    const seen = watchAll(watcher, 'k/');
    const count = 300;

    for (let i = 0; i < count; i++) {
      await writer.put(`k/${i % 7}`, String(i));
      if (i % 20 === 0) server.cut();
    }

    await seen.until(events => events.length >= count);
    t.strictSame(
      seen.events.map(event => event.type === 'put' && event.entry.value),
      Array.from({ length: count }, (_, i) => String(i)),
    );
  },
);

t.test('a lease outlives a broken connection, but not the end of its owner', async t => {
  const server = await startOwnServer(t);
  const owner = await connectTo(t, server.port);
  const other = await connectTo(t, server.ownPort);
  const lease = await owner.lease(3_600_000);
  await owner.put('member', 'me', lease);
  const seen = watchAll(other, 'member', 2);

  server.cut();
  await lease.renew();
  t.strictSame(seen.events, []);
  server.close();

  // Within the server's window, long before its time.
  await seen.until(isDeletion);
  server.open();
  t.equal(await failing(lease.renew()), 'LEASE_LOST');
  t.equal(await failing(owner.put('member', 'me', lease)), 'LEASE_LOST');
});

t.test('one that says goodbye leaves its leases to their time', async t => {
  const server = await startOwnServer(t);
  const other = await connectTo(t, server.ownPort);
  const owner = await connectServer({ host: '127.0.0.1', port: server.ownPort });
  const long = await owner.lease(3_600_000);
  await owner.put('long', '', long);
  const seen = watchAll(other, '', 2);

  await owner.close();

  // Its window would be over before this one's time is.
  const short = await other.lease(3000);
  await other.put('short', '', short);
  await seen.until(isDeletion);
  t.match(await other.get(''), { entries: [{ key: 'long' }] });
});

t.test('a server in the place of another one has nothing of it, and says so', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  const lease = await client.lease(3_600_000);
  await client.put('a', '1', lease);
  const seen = watchAll(client, '');
  await seen.until(events => events.length === 1);

  await server.replace();

  t.equal((await seen.ended).code, 'COMPACTED');
  t.strictSame(await client.get(''), { revision: 0, entries: [] });
  t.equal(await failing(lease.renew()), 'LEASE_LOST');
  t.equal(await client.put('a', '2'), 1);
});

t.test('R-051 that nobody listens any more is told, and that a server is there again', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.ownPort);
  const table = client.table?.();
  let isGone = () => {};
  let isBack = () => {};
  const gone = new Promise<void>(resolve => {
    isGone = resolve;
  });
  const back = new Promise<void>(resolve => {
    isBack = resolve;
  });
  const told: boolean[] = [];
  client.onReached?.(isThere => {
    told.push(isThere);
    (isThere ? isBack : isGone)();
  });

  await server.replace(gone);
  await back;

  t.strictSame(told, [false, true]);
  t.not(client.table?.(), table);
});

t.test('R-047 a connection that is given up is made anew, and loses nothing', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  const modified = await client.put('a', '1');
  const seen = watchAll(client, '', modified + 1);
  const asked = client.get('a');

  client.reconnect?.();
  client.reconnect?.(); // there's none at the moment

  t.match(await asked, { entries: [{ value: '1' }] });
  await client.put('b', '');
  await seen.until(events => events.length === 1);
  t.match(seen.events, [{ entry: { key: 'b' } }]);
});

t.test('of what leads to a server a refusal says nothing', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  client.onReached?.(() => t.fail('it may be there'));

  server.close();
  await failing(client.put('a', ''));
  server.open();

  t.equal(await client.put('a', ''), 1);
});

t.test('what was meant for one server is not done by another that has taken its place', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  const modified = await client.put('a', '1');
  const seen = watchAll(client, '', modified + 1);
  server.close();
  await failing(client.put('b', '')); // by then it knows
  // While nobody is there; the other table has the same key at the same revision by then.
  const late = failing(client.txn([{ key: 'a', modified }], [{ put: 'a', value: 'late' }]));
  await server.replace();
  const first = await connectTo(t, server.ownPort);
  t.equal(await first.put('a', 'first'), modified);

  server.open();

  t.equal(await late, 'UNAVAILABLE');
  t.equal((await seen.ended).code, 'COMPACTED');
  t.match(await client.get(''), { entries: [{ value: 'first' }] });
});

t.test('changes that are not kept any more end a watch', async t => {
  const server = await startOwnServer(t, 2000);
  const client = await connectTo(t, server.ownPort);
  for (let i = 0; i < 50; i++) await client.put('a', String(i));

  const error = await watchAll(client, '').ended;

  t.equal(error.code, 'COMPACTED');
  t.match(error.message, `127.0.0.1:${server.ownPort}: `);
});

t.test('a server that does not answer is told from one that is not there', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port, 500);
  const other = await connectTo(t, server.port, 500);
  server.hold();
  t.equal(await failing(client.get('')), 'TIMEOUT');
  t.equal(await failing(other.put('a', '')), 'TIMEOUT?');
  // It's looked for anew, perhaps elsewhere, and asked nothing before it's there.
  t.equal(await failing(client.put('b', '')), 'UNAVAILABLE');
  server.release();
  let back: unknown;
  while (back === undefined) back = await client.get('').catch(() => undefined);
  t.ok(back);

  const gone = await startOwnServer(t);
  const lonely = await connectTo(t, gone.port, 500);
  gone.close();
  t.equal(await failing(lonely.get('')), 'UNAVAILABLE');
  t.equal(await failing(lonely.put('a', '')), 'UNAVAILABLE');
});

t.test('who listens nowhere is named, with why', async t => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as { port: number };
  closed.close();
  await once(closed, 'close');

  await t.rejects(connectServer({ host: '127.0.0.1', port, timeoutMs: 300 }), {
    code: 'UNAVAILABLE',
    message: `127.0.0.1:${port}: ECONNREFUSED`,
  });
});

t.test('a server that comes later is found', async t => {
  const server = await startOwnServer(t);
  server.close();
  const client = connectTo(t, server.port);
  client.then(
    () => {},
    () => {},
  );
  server.open();

  t.equal(await (await client).put('a', ''), 1);
});

t.test('a signal ends the first connection, before an attempt and in one; R-041', async t => {
  const silent = createServer(socket => socket.on('error', () => {}));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const { port } = silent.address() as { port: number };
  const stop = new AbortController();
  const at = { host: '127.0.0.1', port, timeoutMs: patienceMs, signal: stop.signal };
  const greeted = once(silent, 'connection');
  const given = failing(connectServer(at));
  const [socket] = await greeted;
  const ended = once(socket.resume(), 'close');

  stop.abort();

  t.equal(await given, 'UNAVAILABLE');
  await ended;
  t.equal(await failing(connectServer(at)), 'UNAVAILABLE', 'nor does one begin');
});

t.test('what answers and is not our server is named as such, at once', async t => {
  const http = createHttp((_, answer) => answer.end('hello'));
  const chatty = createServer(socket => {
    socket.on('error', () => {});
    socket.end('SSH-2.0-OpenSSH_9.2\r\n');
  });
  // An alert, as a server of TLS answers what it doesn't take for a greeting.
  const tls = createServer(socket => {
    socket.on('error', () => {});
    socket.write(Buffer.from([0x15, 3, 1, 0, 2, 2, 0x46]));
  });
  for (const [foreign, words] of [
    [http, 'HTTP'],
    [tls, 'TLS'],
    [chatty, 'a frame of '],
  ] as const) {
    foreign.listen(0, '127.0.0.1');
    await once(foreign, 'listening');
    t.teardown(() => foreign.close());
    const { port } = foreign.address() as { port: number };

    await t.rejects(connectServer({ host: '127.0.0.1', port, timeoutMs: patienceMs }), {
      code: 'PROTOCOL',
      message: new RegExp(`^127.0.0.1:${port}: not a store of regroup: it answers with ${words}`),
    });
  }
});

t.test('close() ends what is under way, and watches without a word', async t => {
  const server = await startOwnServer(t);
  const client = await connectTo(t, server.port);
  const seen = watchAll(client, '');
  server.hold();
  const asked = failing(client.get(''));
  const wanted = failing(client.put('a', ''));

  await client.close();
  await client.close();

  t.equal(await asked, 'CLOSED');
  t.match(await wanted, 'CLOSED');
  t.equal(await failing(client.get('')), 'CLOSED');
  t.strictSame(seen.events, []);
});
