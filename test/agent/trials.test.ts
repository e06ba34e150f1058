import { createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { openDoor } from '../../lib/agent/door.js';
import { createTrials } from '../../lib/agent/trials.js';
import type { AgentEvent } from '../../lib/events.js';
import { serveStore } from '../harness.js';

// Whether a node reaches what its workers are about to need of others.

const host = '127.0.0.1';
const there = 'n1 (10.0.0.1)';
/** Longer than anything here takes, on whatever machine. */
const longMs = 60_000;

/** For what comes at once. */
const refusedMs = 2_000;

function trialsOf(limitMs: number) {
  const told: AgentEvent[] = [];
  const trials = createTrials({
    here: () => 'n2 (10.0.0.2)',
    tell: event => told.push(event),
    nowMs: () => 7,
    limitMs,
  });
  const begin = (what: 'store' | 'node', port: number, round = 3) =>
    trials.begin(round, () => [{ what, at: { host, port }, there }]);
  return { begin, end: trials.end, told };
}

async function listen(t: Test, server: Server): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, host, resolve));
  t.teardown(() => server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it has no port');
  return address.port;
}

function silence(t: Test): Promise<number> {
  return listen(
    t,
    createServer(socket => t.teardown(() => socket.destroy())),
  );
}

async function nobody(t: Test): Promise<number> {
  const server = createServer();
  const port = await listen(t, server);
  await new Promise(resolve => server.close(resolve));
  return port;
}

t.test('a store that answers is no news, and neither is a node that lets one connect', async t => {
  const { port } = await serveStore(t);
  const closing = new AbortController();
  t.teardown(() => closing.abort());
  const door = await openDoor(host, closing.signal);
  const { begin, told } = trialsOf(longMs);

  await begin('store', port);
  await begin('node', door ?? 0);

  t.strictSame(told, []);
});

t.test('a port where nobody listens is told, with both nodes', async t => {
  const port = await nobody(t);
  for (const what of ['store', 'node'] as const) {
    const { begin, told } = trialsOf(refusedMs);

    await begin(what, port);

    t.strictSame(told, [
      {
        event: `${what}-unreachable`,
        round: 3,
        address: `${host}:${port}`,
        here: 'n2 (10.0.0.2)',
        there,
        reason: 'ECONNREFUSED',
        limitMs: refusedMs,
        atMs: 7,
      },
    ]);
  }
});

t.test('so is a store that says nothing, and one where something else answers', async t => {
  const silent = await silence(t);
  const stranger = await listen(
    t,
    createServer(socket => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    }),
  );

  const first = trialsOf(50);
  await first.begin('store', silent);
  const second = trialsOf(longMs);
  await second.begin('store', stranger);

  t.match(first.told, [{ reason: 'it does not answer' }]);
  t.match(second.told, [{ reason: /^it is no store: / }]);
});

t.test('nothing is told of a round that is over, or that another one follows', async t => {
  const silent = await silence(t);
  const refused = await nobody(t);
  const { port } = await serveStore(t);
  const { begin, end, told } = trialsOf(longMs);

  await Promise.all([begin('store', silent, 0), begin('store', port, 1)]);
  await Promise.all([begin('node', refused, 2), begin('store', port, 3)]);
  const last = begin('store', silent, 4);
  end();
  await last;

  t.strictSame(told, []);
});

t.test('a door that is closed lets nobody in, and one that is late is none', async t => {
  const closing = new AbortController();
  const port = await openDoor(undefined, closing.signal);
  t.ok(port);
  closing.abort();
  const { begin, told } = trialsOf(refusedMs);

  await begin('node', port ?? 0);

  t.match(told, [{ event: 'node-unreachable', reason: 'ECONNREFUSED' }]);
  t.equal(await openDoor(host, closing.signal), undefined);
});
