import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { connectStore } from '../../lib/store/client.js';
import type { StoreClient } from '../../lib/store/store.js';
import { startProgram } from '../harness.js';
import { servePeer } from '../store/peers.js';
import { type Torch, torchOrSkip } from './torch.js';

// Our client against PyTorch's own servers.

t.setTimeout(850_000);

const servers = [
  { release: 'newest', kind: 'libuv', dialect: 'D' },
  { release: 'newest', kind: 'threaded', dialect: 'D' },
  { release: '1.13', kind: 'only', dialect: 'A' },
] as const;

interface TorchStore {
  readonly port: number;
  /** Has torch do something of that name; see hosts_store.py. */
  ask(name: string): Promise<string>;
}

/** Ends with the test. */
async function hostStore(t: Test, torch: Torch, kind: string): Promise<TorchStore> {
  const program = [torch.python, 'test/interop/hosts_store.py', kind];
  const run = startProgram(t, program, { typing: true, env: { OMP_NUM_THREADS: '1' } });
  t.teardown(async () => {
    run.type();
    await run.ended;
  });
  const port = Number((await run.line(/^ready \d+$/)).split(' ')[1]);
  return {
    port,
    async ask(name) {
      run.type(`${name}\n`);
      return (await run.line(new RegExp(`^done ${name} `))).slice(`done ${name} `.length);
    },
  };
}

/** A store's front that does to the first bytes of a connection what 2.2 to 2.4 do, and hands on the rest. */
function withoutPing(t: Test, port: number, isThreaded: boolean) {
  const [hello, ping] = [Buffer.from('00cef7853c', 'hex'), 13];
  return servePeer(t, socket => {
    let before = Buffer.alloc(0);
    const read = (bytes: Buffer): void => {
      before = Buffer.concat([before, bytes]);
      if (before.length <= hello.length) return;
      const isHello = before.subarray(0, hello.length).equals(hello);
      if (!isHello && isThreaded) socket.destroy();
      if (!isHello) return; // and libuv's never answers
      if (before[hello.length] === ping) return void socket.destroy();
      socket.off('data', read);
      const server = connect(port, '127.0.0.1');
      server.on('error', () => socket.destroy());
      server.write(before);
      server.pipe(socket).pipe(server);
    };
    socket.on('data', read);
  });
}

for (const { release, kind, dialect } of servers) {
  const title = release === 'newest' ? `the newest PyTorch, ${kind}` : `PyTorch ${release}`;
  t.test(`our client and the store of ${title}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const server = await hostStore(t, torch, kind);
    const address = { host: '127.0.0.1', port: server.port, timeoutMs: 60_000 };
    const store = await connectStore(address);
    t.teardown(() => store.close());
    const isCurrent = dialect === 'D';

    t.test('T-099 finds its dialect, which can be said as well', async t => {
      t.equal(store.dialect, dialect);
      const told = await connectStore({ ...address, dialect });
      await told.ping();
      await told.close();
    });

    t.test('T-017, T-099 finds one that hangs up on PING, as 2.2 to 2.4 do', async t => {
      if (!isCurrent) return;
      const older = await withoutPing(t, server.port, kind === 'threaded');
      const client = await connectStore({ ...older, timeoutMs: 60_000 });

      await client.set('older', 'found');
      await client.ping();

      t.equal(client.dialect, 'D');
      t.equal(String(await store.get('older')), 'found');
      await client.close();
    });

    t.test('T-005 sets what torch gets, and gets what torch sets', async t => {
      await store.set('ours', 'from node');
      await store.set('binary', Buffer.from([0, 255, 10, 0]));

      t.equal(await server.ask('get-ours'), "b'from node'");
      t.equal(await server.ask('get-binary'), '00ff0a00');
      const waiting = store.get('late');
      t.equal(await server.ask('set-late'), 'None');
      t.equal(String(await waiting), 'in time');
    });

    t.test('T-005 counts as a worker if it is asked to', async t => {
      const before = await store.numKeys();
      await (await connectStore({ ...address, countAsWorker: true })).close();

      t.equal(await store.numKeys(), before + 1, 'init/, which no user key can be');
      await (await connectStore({ ...address, countAsWorker: true })).close();
      t.equal(await store.numKeys(), before + 1);
      t.notOk(await store.check('init/'));
    });

    t.test('T-006 prefixes nest as PrefixStore does', async t => {
      const nested = store.prefix('inner').prefix('outer');
      await nested.set('x', 'from node');

      t.equal(await server.ask('get-prefixed'), "b'from node'");
      await server.ask('set-prefixed');
      t.equal(String(await nested.get('y')), 'from torch');
      t.equal(String(await store.get('inner/outer/y')), 'from torch');
    });

    t.test('T-024 T-029 T-031 T-038 the operations of every release', async t => {
      t.equal(await store.add('counter', 41), 41n);
      t.equal(await server.ask('add-counter'), '42');
      t.equal(String(await store.compareSet('c', '', 'new')), 'new');
      t.equal(String(await store.compareSet('c', 'new', 'newer')), 'newer');
      t.equal(String(await store.compareSet('c', 'x', 'y')), 'newer');
      t.equal(String(await store.compareSet('missing', 'x', 'y')), 'x');
      t.strictSame([await store.check(['c']), await store.check(['c', 'missing'])], [true, false]);
      t.ok((await store.numKeys()) > 2);
      t.strictSame([await store.deleteKey('c'), await store.deleteKey('c')], [true, false]);
      await store.set('', '');
      t.equal(String(await store.get('')), '');
      const sums = await Promise.all(Array.from({ length: 200 }, () => store.add('n', 1)));
      t.strictSame(
        sums,
        sums.map((_, i) => BigInt(i + 1)),
      );
    });

    t.test('T-097 what follows a wait that was given up is in step', async t => {
      await staysInStep(t, store);
    });

    t.test('a number that is none costs the connection, and the next call has another', async t => {
      await store.set('text', 'abc');
      await t.rejects(store.add('text', 1), { code: 'ERR_STORE_OUTCOME_UNKNOWN' });
      t.equal(String(await store.get('text')), 'abc');
    });

    t.test(
      'T-039 T-040 T-041 T-053 T-054 the operations since 2.1',
      { skip: !isCurrent },
      async t => {
        await store.append('a', 'foo');
        await store.append('a', 'bar');
        await store.multiSet([
          ['m1', 'one'],
          ['m2', 'two'],
        ]);
        const values = await store.multiGet(['a', 'm2', 'm1']);
        t.strictSame(values.map(String), ['foobar', 'two', 'one']);
        const keys = await store.listKeys();
        t.ok(['a', 'm1', 'm2'].every(key => keys.includes(key)) && !keys.includes('init/'));
        await Promise.all([store.barrier('met', 2), server.ask('barrier')]);
        const nested = store.prefix('inner').prefix('outer');
        await Promise.all([nested.barrier('met', 2), server.ask('barrier-prefixed')]);
      },
    );

    t.test('T-047 T-048 queues', { skip: kind !== 'libuv' }, async t => {
      const waiting = store.queuePop('queue');
      await server.ask('push');
      t.equal(String(await waiting), 'pushed');
      await store.queuePush('queue', 'more');
      t.equal(await store.queueLen('queue'), 1);
      t.equal(String(await store.queuePop('queue', { block: false })), 'more');
      t.equal(await store.queuePop('queue', { block: false }), undefined);
    });

    t.test('a server without queues hangs up', { skip: kind !== 'threaded' }, async t => {
      await t.rejects(store.queuePush('queue', 'v'), { code: 'ERR_STORE_OUTCOME_UNKNOWN' });
      await t.rejects(store.queueLen('queue'), { code: 'ERR_STORE_LOST' });
      t.equal(await store.add('after', 1), 1n);
    });
  });
}

async function staysInStep(t: Test, store: StoreClient): Promise<void> {
  await t.rejects(store.wait('never', { timeoutMs: 20 }), { code: 'ERR_STORE_TIMEOUT' });
  const reason = new Error('never mind');
  for (let i = 0; i < 30; i++) {
    const controller = new AbortController();
    const wait = store.wait(`key ${i}`, { signal: controller.signal });
    const release = store.set(`key ${i}`, `${i}`);
    if (i % 2 === 0) await release;
    controller.abort(reason);
    await Promise.allSettled([wait, release]);
    t.equal(String(await store.get(`key ${i}`)), `${i}`);
  }
}
