import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { Coordination } from '../../lib/coordination/coordination.js';
import { connectEtcd, type EtcdOptions } from '../../lib/coordination/etcd.js';
import { codeOf } from './conformance/begin.js';
import { record, revisionOf } from './recorder.js';

// What etcd does, and a real one can't be had to do here and now.

const header = { cluster_id: '1', member_id: '2', revision: '9', raft_term: '2' };
const base64 = (text: string) => Buffer.from(text).toString('base64');

type Handler = (
  response: ServerResponse,
  request: { path: string; body: string; headers: IncomingMessage['headers'] },
) => void;

interface Gateway {
  readonly url: string;
  /** The paths that were asked for, but for the first request of a client. */
  readonly paths: readonly string[];
  /** Nobody listens there from now on. */
  stop(): Promise<void>;
}

/** Somebody who answers the first request of a client as etcd does, and others as the test wants. */
async function serveGateway(t: Test, handler: Handler): Promise<Gateway> {
  const paths: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    void textOf(request).then(body => {
      const path = request.url ?? '';
      if (body === JSON.stringify({ key: base64('\0') }))
        return response.end(JSON.stringify({ header }));
      paths.push(path);
      handler(response, { path, body, headers: request.headers });
    });
  });
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  t.teardown(stop);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not on a port');
  return { url: `http://127.0.0.1:${address.port}`, paths, stop };
}

async function connect(t: Test, options: EtcdOptions): Promise<Coordination> {
  const c = await connectEtcd(options);
  t.teardown(() => c.close());
  return c;
}

/** A client of one, or of several, that waits for long. */
function connectTo(t: Test, ...handlers: Handler[]): Promise<Connected> {
  return connectFor(t, 60_000, ...handlers);
}

/** For handlers that never answer; long enough for those that do. */
const impatientMs = 1_000;

interface Connected {
  readonly c: Coordination;
  readonly gateways: readonly Gateway[];
}

async function connectFor(t: Test, timeoutMs: number, ...handlers: Handler[]): Promise<Connected> {
  const gateways = await Promise.all(handlers.map(handler => serveGateway(t, handler)));
  const endpoints = gateways.map(({ url }) => url);
  return { c: await connect(t, { endpoints, timeoutMs, watchCheckMs: 20 }), gateways };
}

function say(response: ServerResponse, message: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(message));
}

function tell(response: ServerResponse, message: unknown): void {
  response.write(`${JSON.stringify({ result: { header, ...(message as object) } })}\n`);
}

function put(name: string, revision: number): unknown {
  return { kv: { key: base64(name), mod_revision: `${revision}`, create_revision: '1' } };
}

function startOf(body: string): number {
  return Number(JSON.parse(body).create_request.start_revision);
}

const hangUp: Handler = response => response.socket?.destroy();
const silent: Handler = () => {};
const refuse =
  (code: number, message: string, status = 503): Handler =>
  response =>
    say(response, { error: message, message, code }, status);

t.test('a change whose answer got lost is uncertain, and is not repeated elsewhere', async t => {
  for (const [lose, code] of [
    [hangUp, 'UNAVAILABLE'],
    [silent, 'TIMEOUT'],
    [refuse(14, 'etcdserver: request timed out'), 'UNAVAILABLE'],
    [refuse(14, 'etcdserver: leader changed'), 'UNAVAILABLE'],
    [((response: ServerResponse) => response.end('{"header"')) as Handler, 'PROTOCOL'],
  ] as const) {
    const timeoutMs = lose === silent ? impatientMs : 60_000;
    const fine: Handler = response => say(response, { header });
    const { c, gateways } = await connectFor(t, timeoutMs, lose, fine);

    await t.rejects(c.put('a', ''), { code, isUncertain: true });

    t.strictSame(
      gateways.map(({ paths }) => paths),
      [['/v3/kv/put'], []],
    );
    // The next one isn't sent to whoever has failed.
    t.equal(await c.put('a', ''), 9);
  }
});

t.test('a change that was surely not made is asked of another member', async t => {
  for (const message of ['etcdserver: no leader', 'etcdserver: too many requests']) {
    const { c, gateways } = await connectTo(t, refuse(14, message), response =>
      say(response, { header }),
    );

    t.equal(await c.put('a', ''), 9);
    t.strictSame(
      gateways.map(({ paths }) => paths.length),
      [1, 1],
    );
  }
});

t.test('so is one that could not even be sent', async t => {
  // It keeps no connection that a change could be sent on.
  const { c, gateways } = await connectTo(
    t,
    response => response.setHeader('connection', 'close').end(JSON.stringify({ header })),
    response => say(response, { header }),
  );
  await c.get('a');
  await gateways[0]?.stop();

  t.equal(await c.put('a', ''), 9);
  await gateways[1]?.stop();
  const error = await untilRefused(() => c.put('a', ''));
  t.match(error, {
    code: 'UNAVAILABLE',
    isUncertain: false,
    message: /ECONNREFUSED.*ECONNREFUSED/,
  });
});

/** Until the client has noticed that the connections it kept are gone. */
async function untilRefused(attempt: () => Promise<unknown>): Promise<unknown> {
  for (;;) {
    const error: unknown = await attempt().catch((error: unknown) => error);
    if (/REFUSED.*REFUSED/.test(String(error))) return error;
  }
}

t.test('a read, a grant and a renewal are asked of each member, whatever became of it', async t => {
  const { c, gateways } = await connectFor(t, impatientMs, hangUp, silent, (response, { path }) =>
    say(
      response,
      path === '/v3/lease/keepalive'
        ? { result: { header, TTL: '3' } }
        : { header, ID: '7', TTL: '3' },
    ),
  );

  t.strictSame(await c.get('a'), { revision: 9, entries: [] });
  const lease = await c.lease(2001);
  await lease.renew();

  t.strictSame(lease.ttlMs, 3000);
  // The first one broke a connection that had been idle, and so may have been started anew.
  t.strictSame(
    gateways.map(({ paths }) => paths.length),
    [2, 1, 3],
  );
});

t.test('if all members fail, each is named with its reason', async t => {
  const { c, gateways } = await connectFor(t, impatientMs, hangUp, silent);

  const error = await c.get('a').catch((error: Error) => error);

  t.match(error, { code: 'UNAVAILABLE', isUncertain: false });
  const [first, second] = gateways.map(({ url }) => url);
  t.match(
    String(error),
    new RegExp(`no endpoint .*${first}: socket hang up.*${second}: no answer within 1000 ms`),
  );
});

t.test('a lease that etcd has forgotten has no time left, in either of two ways', async t => {
  for (const TTL of [undefined, '0', '-1']) {
    const { c } = await connectTo(t, (response, { path }) =>
      say(
        response,
        path === '/v3/lease/grant'
          ? { header, ID: '7', TTL: '3' }
          : { result: { header, ID: '7', TTL } },
      ),
    );
    const lease = await c.lease(3000);

    await t.rejects(lease.renew(), { code: 'LEASE_LOST' });
    await t.rejects(lease.renew(), { code: 'LEASE_LOST' });
  }
});

t.test('who is not etcd is told so, in one sentence', async t => {
  const html = '<html><body>It works!</body></html>';
  for (const [status, body, message] of [
    [200, html, /status 200 and "<html>.*isn't an answer of etcd's: check its address/],
    [200, '{"hello":1}', /isn't an answer of etcd's/],
    [404, '404 page not found', /has no JSON gateway of etcd 3.4 or newer/],
    [400, 'Client sent an HTTP request to an HTTPS server.', /write https:\/\/ instead/],
  ] as const) {
    const { url } = await serveGateway(t, response => response.writeHead(status).end(body));
    const c = connect(t, { endpoints: [url], user: { name: 'any', password: 'any' } });
    await t.rejects(c, { code: 'PROTOCOL', message });
  }
});

t.test('a proxy that has lost its member is unavailable', async t => {
  const { c } = await connectTo(t, response => response.writeHead(502).end('Bad Gateway'));
  await t.rejects(c.put('a', ''), { code: 'UNAVAILABLE', isUncertain: true, message: /a proxy/ });
});

t.test('a watch asks for a leader, for progress and for fragments', async t => {
  const asked = new Promise<{ body: string; headers: IncomingMessage['headers'] }>(resolve => {
    void connectTo(t, (_, request) => resolve(request)).then(({ c }) => record(c, 'a', 5));
  });

  const { body, headers } = await asked;
  t.equal(headers['grpc-metadata-hasleader'], 'true');
  t.match(JSON.parse(body), {
    create_request: { start_revision: '5', progress_notify: true, fragment: true },
  });
});

t.test('a stream that ends somehow is followed by one that begins where it ended', async t => {
  const endings: Handler[] = [
    response => response.end(),
    response => response.socket?.destroy(),
    response =>
      response.end(
        `${JSON.stringify({ error: { grpc_code: 14, message: 'etcdserver: no leader' } })}\n`,
      ),
    response =>
      response.end(
        `${JSON.stringify({ error: { code: 14, message: 'etcdserver: server stopped' } })}\n`,
      ),
    response => tell(response, { canceled: true, cancel_reason: 'etcdserver: no leader' }),
    // Half a line.
    response => response.end('{"result":{"hea'),
    // Silence, on the stream and to questions alike.
    () => {},
  ];
  for (const end of endings) {
    const handler: Handler = (response, request) => {
      if (request.path !== '/v3/watch') return;
      const from = startOf(request.body);
      tell(response, { created: true });
      if (from >= 12) return tell(response, { events: [put('last', 100)] });
      // Some of what came before is told once more.
      tell(response, { events: [put('old', from - 1), put('a', from), put('b', from)] });
      // Once that is on its way.
      setImmediate(() => end(response, request));
    };
    const { c } = await connectFor(t, impatientMs, handler);
    const watch = record(c, '', 10);
    await watch.told(100);

    t.strictSame(watch.events.map(revisionOf), [10, 10, 11, 11, 100]);
    watch.close();
  }
});

t.test('a watch leaves a member that is frozen', async t => {
  const { c } = await connectFor(
    t,
    impatientMs,
    (response, { path }) => {
      if (path === '/v3/watch') tell(response, { created: true });
    },
    (response, { path, body }) => {
      if (path !== '/v3/watch') return say(response, { header });
      tell(response, { created: true });
      tell(response, { events: [put('a', startOf(body))] });
    },
  );
  const watch = record(c, '', 10);

  await watch.told(10);
});

t.test('a watch stays with a member that is only silent', async t => {
  let checks = 0;
  const { c, gateways } = await connectTo(t, (response, { path }) => {
    if (path === '/v3/watch') {
      tell(response, { created: true });
      stream = response;
      return;
    }
    checks++;
    if (checks === 1) say(response, { header });
    else if (checks === 2)
      say(response, { error: 'x', message: 'etcdserver: permission denied', code: 7 }, 403);
    else tell(stream as ServerResponse, { events: [put('a', 10)] });
  });
  let stream: ServerResponse | undefined;
  const watch = record(c, '', 10);

  await watch.told(10);
  t.strictSame(gateways[0]?.paths.filter(path => path === '/v3/watch').length, 1);
});

t.test('progress is remembered: what was compacted meanwhile was not missed', async t => {
  const starts: number[] = [];
  const { c } = await connectTo(t, (response, { path, body }) => {
    if (path !== '/v3/watch') return;
    starts.push(startOf(body));
    tell(response, { created: true });
    if (starts.length === 1) {
      tell(response, { header: { ...header, revision: '50' } });
      response.end();
    } else tell(response, { events: [put('a', 51)] });
  });

  await record(c, '', 10).told(51);
  t.strictSame(starts, [10, 51]);
});

t.test('a watch ends where going on is in vain', async t => {
  const cases: [Handler, string][] = [
    [response => tell(response, { canceled: true, compact_revision: '20' }), 'COMPACTED'],
    [
      response =>
        tell(response, { canceled: true, cancel_reason: 'etcdserver: permission denied' }),
      'DENIED',
    ],
    [refuse(7, 'etcdserver: permission denied', 403), 'DENIED'],
    [response => response.end('<html>'), 'PROTOCOL'],
    [response => response.writeHead(404).end('404 page not found'), 'PROTOCOL'],
  ];
  for (const [handler, code] of cases) {
    const { c } = await connectTo(t, handler);
    t.match(await record(c, 'a', 10).ended, { code, isUncertain: false });
    await c.close();
  }
  const { c } = await connectTo(t, silent);
  t.equal(await codeOf(() => c.watch('\ud800', 1, { changed() {}, ended() {} })), 'INVALID');
});

t.test('options that cannot be are refused', async t => {
  const endpoints = ['http://127.0.0.1:1'];
  for (const [options, message] of [
    [{ endpoints: [] }, /at least one/],
    [{ endpoints: ['127.0.0.1:2379'] }, /isn't like http:/],
    [{ endpoints: ['ftp://a'] }, /isn't like http:/],
    [{ endpoints: ['http://u:hush@a:1'] }, /a:1 has a user or password/],
    [{ endpoints, cert: 'a' }, /go together/],
    [{ endpoints, ca: '/no/such' }, /^ca: .*\/no\/such/],
    [{ endpoints, ca: 'package.json', cert: 'package.json', key: 'package.json' }, /must be PEM/],
  ] as const) {
    const error = await connectEtcd(options).catch((error: Error) => error);
    t.match(error, { code: 'INVALID', message });
    t.notMatch(String(error), /hush/);
  }
});

t.test('nobody there', async t => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number }; // it's on one
  server.close();
  await once(server, 'close');

  const endpoints = [`http://127.0.0.1:${port}`];
  await t.rejects(connectEtcd({ endpoints }), { code: 'UNAVAILABLE', message: /ECONNREFUSED/ });
});
