import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { connectStore } from '../../lib/store/client.js';
import type { StoreClient } from '../../lib/store/store.js';
import { serveStore, startProgram } from '../harness.js';
import { servePeer, servePolite } from './peers.js';

const host = '127.0.0.1';

/** A port that nobody listens on, now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** One that's there for as long as `use` runs. */
async function withStore(
  options: Parameters<typeof connectStore>[0],
  use: (store: StoreClient) => Promise<void>,
): Promise<void> {
  const store = await connectStore(options);
  try {
    await use(store);
  } finally {
    await store.close();
  }
}

t.test('T-098 nobody there: the error has the address, the time and the reason', async t => {
  const port = await freePort();

  await t.rejects(connectStore({ host, port, timeoutMs: 500 }), {
    code: 'ERR_STORE_CONNECT',
    message: new RegExp(`^no store answers at ${host}:${port}, tried for \\d+ ms: .*ECONNREFUSED`),
  });
});

t.test('T-096 the deadline covers a PING that is never answered', async t => {
  const { port } = await servePeer(t, () => {});

  await t.rejects(connectStore({ host, port, timeoutMs: 50 }), {
    code: 'ERR_STORE_CONNECT',
    message: /it accepts and says nothing$/,
  });
});

t.test('T-096 connecting and PING are tried again as one', async t => {
  const served = await serveStore(t);
  const { port } = await servePeer(t, (socket, nth) => {
    // Once as a backlog that overflows, once after the hello: each try is answered by its probe, too.
    if (nth === 1) return socket.resetAndDestroy();
    if (nth === 2) return socket.once('data', () => socket.destroy());
    const upstream = connect(served.port, host);
    upstream.on('error', () => {}).on('close', () => socket.destroy());
    socket.pipe(upstream).pipe(socket);
  });

  await withStore({ host, port, dialect: 'D' }, async store => {
    t.equal(await store.add('n', 1), 1n);
  });
});

t.test('T-096 a store that starts later is found', async t => {
  const port = await freePort();
  const connecting = connectStore({ host, port });
  await serveStore(t, port);

  const store = await connecting;
  t.equal(await store.add('n', 1), 1n);
  await store.close();
});

t.test('connecting ends by its signal, with the reason of the signal', async t => {
  const port = await freePort();
  const controller = new AbortController();
  const connecting = connectStore({ host, port, signal: controller.signal });
  controller.abort(new Error('not any more'));

  await t.rejects(connecting, { message: 'not any more' });
});

t.test('somebody who is no store is told apart at once', async t => {
  const { port } = await servePeer(t, socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));

  await t.rejects(connectStore({ host, port }), { code: 'ERR_STORE_PROTOCOL' });
});

t.test('after the store was killed', async t => {
  const { port, run } = await serveStore(t);
  const store = await connectStore({ host, port });
  t.teardown(() => store.close());
  const waiting = store.wait('later');
  await store.set('before', '1');
  run.kill('SIGKILL');
  await run.ended;

  await t.test('T-098 a call tells when its deadline ends', async t => {
    await t.rejects(store.get('before', { timeoutMs: 500 }), {
      code: 'ERR_STORE_CONNECT',
      message: /ECONNREFUSED/,
    });
  });

  await t.test('waits and changes that were not sent yet reach the next one', async t => {
    const change = store.set('later', 'from the same client');
    await serveStore(t, port);

    await Promise.all([waiting, change]);
    t.equal(String(await store.get('later')), 'from the same client');
    t.notOk(await store.check('before'), 'whose table was empty');
  });
});

t.test('a frozen store holds no call beyond its deadline, and is in step afterwards', async t => {
  const { port, run } = await serveStore(t);
  t.teardown(() => run.kill('SIGCONT'));

  await withStore({ host, port }, async store => {
    await store.set('k', 'v');
    const waiting = store.wait('never', { timeoutMs: 200 });
    run.kill('SIGSTOP');
    await t.rejects(waiting, { code: 'ERR_STORE_TIMEOUT' });
    await t.rejects(store.get('k', { timeoutMs: 20 }), { code: 'ERR_STORE_TIMEOUT' });
    run.kill('SIGCONT');
    t.equal(String(await store.get('k')), 'v');
  });
});

const mebi = 2 ** 20;

t.test('what a server does not read is bounded, and the rest is never sent', async t => {
  const { port } = await servePolite(t, socket => socket.pause());

  await withStore({ host, port, timeoutMs: 60_000 }, async store => {
    const value = Buffer.alloc(mebi);
    const sets = Array.from({ length: 200 }, (_, i) =>
      store.set(`${i}`, value, { timeoutMs: 500 }).catch(error => error.code),
    );
    const codes = await Promise.all(sets);

    const sent = codes.indexOf('ERR_STORE_TIMEOUT');
    t.ok(sent >= 16, 'so much is sent ahead');
    t.ok(sent < 200, 'and not all');
    t.ok(codes.slice(0, sent).every(code => code === 'ERR_STORE_OUTCOME_UNKNOWN'));
    t.ok(codes.slice(sent).every(code => code === 'ERR_STORE_TIMEOUT'));
  });
});

t.test(
  'calls that wait their turn are served in their order, but those that a signal ended',
  async t => {
    const { port, run } = await serveStore(t);
    t.teardown(() => run.kill('SIGCONT'));

    await withStore({ host, port }, async store => {
      run.kill('SIGSTOP');
      const calls: Promise<unknown>[] = [];
      for (let i = 0; i < 20; i++) calls.push(store.set(`${i}`, Buffer.alloc(mebi)));
      for (let i = 0; i < 5; i++) calls.push(store.append('order', `${i}`));
      const impatient = new AbortController();
      const ended = store.append('order', 'never', { signal: impatient.signal });
      calls.push(store.append('order', 'last'));
      impatient.abort(new Error('enough'));
      await t.rejects(ended, { message: 'enough' });
      run.kill('SIGCONT');
      await Promise.all(calls);

      t.equal(String(await store.get('order')), '01234last');
    });
  },
);

t.test('a change that waits its turn goes to the next connection if this one breaks', async t => {
  let first: Socket | undefined;
  const { port } = await servePolite(t, socket => {
    first ??= socket;
    if (socket === first) socket.destroy();
    else socket.write(Buffer.from([0])); // CHECK: all there
  });

  await withStore({ host, port }, async store => {
    const large = Array.from({ length: 16 }, (_, i) => store.set(`${i}`, Buffer.alloc(mebi)));
    const small = store.set('small', 'v');

    for (const each of large) {
      await t.rejects(each, { code: 'ERR_STORE_OUTCOME_UNKNOWN' });
    }
    await t.resolves(small);
  });
});

/** Greets; hangs up on the first request of each of so many connections. */
function hangsUp(t: Parameters<typeof servePolite>[0], times: number) {
  let left = times;
  return servePolite(t, (socket: Socket) => {
    if (left-- > 0) socket.destroy();
    else socket.write(Buffer.from([0])); // CHECK: all there
  });
}

t.test('what changes nothing is sent again, but not for ever', async t => {
  const { port } = await hangsUp(t, 2);
  await withStore({ host, port }, async store => {
    t.equal(await store.check('k'), true);
  });

  const stubborn = await hangsUp(t, 3);
  await withStore({ host, port: stubborn.port }, async store => {
    await t.rejects(store.check('k'), {
      code: 'ERR_STORE_LOST',
      message: /^check of \/k lost the store 127\.0\.0\.1:\d+ after \d+ ms: /,
    });
  });
});

t.test('a change whose answer is lost is not sent again', async t => {
  const changes: readonly ((store: StoreClient) => Promise<unknown>)[] = [
    store => store.add('k', 1),
    store => store.compareSet('k', '', 'v'),
    store => store.append('k', 'v'),
    store => store.queuePush('k', 'v'),
    store => store.queuePop('k'),
    store => store.set('k', 'v'),
    store => store.multiSet([['k', 'v']]),
    store => store.deleteKey('k'),
    store => store.barrier('k', 2),
  ];
  for (const change of changes) {
    const { port } = await hangsUp(t, 1);
    await withStore({ host, port }, async store => {
      await t.rejects(change(store), {
        code: 'ERR_STORE_OUTCOME_UNKNOWN',
        message: / was sent to the store 127\.0\.0\.1:\d+ and may or may not have taken effect, /,
      });
    });
  }
});

t.test('a deadline that ends before the answer leaves the outcome of a change open', async t => {
  const { port } = await servePolite(t, () => {});

  await withStore({ host, port, timeoutMs: 60_000 }, async store => {
    await t.rejects(store.add('k', 1, { timeoutMs: 1 }), { code: 'ERR_STORE_OUTCOME_UNKNOWN' });
    await t.rejects(store.check('k', { timeoutMs: 1 }), { code: 'ERR_STORE_TIMEOUT' });
  });
});

t.test('an answer that comes too late is not taken for another', async t => {
  let asked = '';
  const { port } = await servePolite(t, (socket, bytes) => {
    asked += bytes.toString('latin1');
    // The first answer is held back until there's a second request. Both may come at once, on a machine that's busy.
    if (asked.includes('second')) socket.write(Buffer.from([1, 0]));
  });

  await withStore({ host, port }, async store => {
    await t.rejects(store.check('first', { timeoutMs: 20 }), { code: 'ERR_STORE_TIMEOUT' });
    t.equal(await store.check('second'), true);
  });
});

t.test('a malformed answer ends the connection, and the next call has a new one', async t => {
  let nth = 0;
  const { port } = await servePolite(t, socket => socket.write(Buffer.from([nth++ === 0 ? 7 : 0])));

  await withStore({ host, port }, async store => {
    await t.rejects(store.check('k'), {
      code: 'ERR_STORE_PROTOCOL',
      message: /doesn't answer as a store does: status 7/,
    });
    t.equal(await store.check('k'), true);
  });
});

t.test('a value above maxValueBytes is malformed', async t => {
  const served = await serveStore(t);

  await withStore({ ...served, maxValueBytes: 4 }, async store => {
    await store.set('k', 'fours');
    await t.rejects(store.get('k'), { code: 'ERR_STORE_PROTOCOL' });
  });
});

t.test('random bytes as answers neither hang nor crash a client', async t => {
  let answer = new Uint8Array();
  const { port } = await servePolite(t, socket => socket.write(answer));
  const calls: readonly ((store: StoreClient) => Promise<unknown>)[] = [
    store => store.set('k', 'v'),
    store => store.get('k'),
    store => store.add('k', 1),
    store => store.compareSet('k', '', 'v'),
    store => store.wait('k'),
    store => store.multiGet(['k', 'l']),
    store => store.queuePop('k'),
    store => store.listKeys(),
    store => store.barrier('k', 2),
    store => store.numKeys(),
    store => store.ping(),
  ];
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    // Small numbers are what gets furthest.
    fc
      .array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 40 })
      .map(numbers => Uint8Array.from(numbers)),
  );
  const property = fc.asyncProperty(
    bytes,
    fc.shuffledSubarray([...calls], { minLength: 1 }),
    async (random, some) => {
      answer = random;
      await withStore({ host, port, timeoutMs: 50 }, async store => {
        const settled = await Promise.allSettled(some.map(call => call(store)));
        for (const each of settled) {
          if (each.status === 'rejected') t.match(each.reason, { code: /^ERR_STORE_/ });
        }
      }).catch(error => t.match(error, { code: 'ERR_STORE_CONNECT' }));
    },
  );

  await fc.assert(property, { numRuns: 60 });
});

t.test('random bytes as a hello neither hang nor crash a client', async t => {
  let answer = new Uint8Array();
  const { port } = await servePeer(t, socket => socket.end(answer));
  const property = fc.asyncProperty(fc.uint8Array({ maxLength: 8 }), async random => {
    answer = random;
    await connectStore({ host, port, timeoutMs: 20 }).then(
      store => store.close(), // a zero is all that dialect A's greeting takes
      error => t.match(error, { code: /^ERR_STORE_/ }),
    );
  });

  await fc.assert(property, { numRuns: 40 });
});

t.test('a client that waits for nothing does not keep Node alive', async t => {
  const { port } = await serveStore(t);
  const script = `
    import('./dist/index.js').then(async ({ connectStore }) => {
      const store = await connectStore({ host: '${host}', port: ${port} });
      await store.set('k', 'v');
      await store.wait('never', { timeoutMs: 20 }).catch(error => console.log(error.code));
      console.log(String(await store.get('k')));
    });`;
  const { code, stdout, stderr } = await startProgram(t, [process.execPath, '-e', script]).ended;

  t.strictSame({ code, stdout, stderr }, { code: 0, stdout: 'ERR_STORE_TIMEOUT\nv\n', stderr: '' });
});
