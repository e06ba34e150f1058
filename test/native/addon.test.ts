import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { native } from '../../lib/native/addon.js';
import type { NativeStoreReport } from '../../lib/native/store.js';
import { connectStore } from '../../lib/store.js';
import { startProgram } from '../harness.js';

const hello = Buffer.from('00cef7853c', 'hex');
const ping = Buffer.from('0d01000000', 'hex');

t.test('T-106 the store tells clients, bytes, operations and the slowest', async t => {
  const store = native().createStore(
    { disable: [], sharedMemory: false, keptDescriptors: 0 },
    () => {},
  );
  t.teardown(() => store.close());
  const { table, port } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  t.notOk(store.stats(table).slowest);
  const client = connect(port, '127.0.0.1');
  t.teardown(() => client.destroy());

  client.write(Buffer.concat([hello, ping]));
  const [answer] = await once(client, 'data');

  t.same(answer, ping.subarray(1));
  // It's counted once it has been sent.
  while (store.stats(table).bytesOut === 0) await turn();
  const { slowest, ...counters } = store.stats(table);
  t.same(counters, {
    clients: 1,
    lanes: 0,
    keys: 0,
    waiters: 0,
    bytes: 0,
    accepted: 1,
    refused: 0,
    faults: 0,
    bytesIn: hello.length + ping.length,
    bytesOut: 4,
    highestStep: 0,
    operations: { VALIDATE: 1, PING: 1 },
    dialects: { D: 1 },
    hotKeys: [],
  });
  t.ok(slowest && slowest.operation in counters.operations);
});

t.test('T-106 the store tells which keys are asked for most', async t => {
  const store = native().createStore(
    { disable: [], sharedMemory: false, keptDescriptors: 0 },
    () => {},
  );
  t.teardown(() => store.close());
  const { table, port } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  const client = await connectStore({ host: '127.0.0.1', port });
  t.teardown(() => client.close());

  for (let i = 0; i < 500; i++) {
    await Promise.all([client.add('hot', 1), client.set(`cold/${i}`, '')]);
  }

  const { hotKeys } = store.stats(table);
  t.equal(hotKeys[0]?.key, '/hot', 'as on the wire');
  t.ok(
    (hotKeys[0]?.requests ?? 0) > 250 && (hotKeys[0]?.requests ?? 0) < 1000,
    `${hotKeys[0]?.requests}`,
  );
});

t.test('the first use of a table is told, once, and once more after a reset', async t => {
  const reports: NativeStoreReport[] = [];
  const store = native().createStore(
    { disable: [], sharedMemory: false, keptDescriptors: 0 },
    report => reports.push(report),
  );
  t.teardown(() => store.close());
  const { table, port } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  const used = async (count: number): Promise<void> => {
    while (reports.length < count) await turn();
  };

  // Whoever only says hello, as an agent of another node that tries whether it's reached, doesn't use it.
  const greeter = connect(port, '127.0.0.1');
  greeter.write(Buffer.concat([hello, ping]));
  await once(greeter, 'data');
  greeter.destroy();

  // A first use that's told of the greeter would be before this.
  const before = native().monotonicMs();
  const first = await connectStore({ host: '127.0.0.1', port });
  await first.set('a', '1');
  await first.set('b', '2');
  await used(1);
  store.resetTable(table);
  await first.close();
  const second = await connectStore({ host: '127.0.0.1', port });
  await second.add('c', 1);
  await second.close();
  await used(2);

  t.match(reports, [
    { report: 'used', table },
    { report: 'used', table },
  ]);
  const times = reports.flatMap(report => (report.report === 'used' ? [report.atMs] : []));
  t.strictSame(
    times,
    [...times].sort((a, b) => a - b),
  );
  t.ok(times.every(atMs => atMs > before && atMs <= native().monotonicMs()));
});

t.test('a store that is closed counts nothing, and says so rather than throwing', async t => {
  const store = native().createStore(
    { disable: [], sharedMemory: false, keptDescriptors: 0 },
    () => {},
  );
  const { table } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  store.close();

  const stats = store.stats(table);

  t.equal(stats.clients, 0);
  t.same(stats.operations, {});
});

t.test('without the addon it is said where it was looked for and what to try', async t => {
  const root = t.testdir();
  for (const name of ['dist', 'package.json']) cpSync(name, join(root, name), { recursive: true });
  symlinkSync(resolve('node_modules'), join(root, 'node_modules'));
  const why = `the native addon can't be loaded from ${root}: No native build was found for .*; \`npm rebuild regroup\` builds it, .*`;

  for (const [command, ...args] of [
    ['regroup', '--no-python', 'true'],
    ['regroup-launch', '--use-env', '--no-python', 'true'],
    ['regroup-store'],
  ] as const) {
    const program = [process.execPath, join(root, `dist/bin/${command}.cjs`), ...args];
    const ended = await startProgram(t, program).ended;

    t.match(ended, { code: 1, signal: null, stdout: '' }, command);
    t.match(ended.stderr, new RegExp(`(^|\n)${command}: error: ${why}\n$`), command);
  }
  const script = `
    import { launch } from ${JSON.stringify(join(root, 'dist/index.js'))};
    const run = launch({ entrypoint: { program: 'true' } });
    await run.result.catch(({ code, message }) => console.log(code, message));`;
  const program = [process.execPath, '--input-type=module', '-e', script];
  const { stdout } = await startProgram(t, program).ended;
  t.match(stdout, new RegExp(`^ERR_NATIVE_MISSING ${why}\n$`));
});

t.test('the peer of a Unix socket is named, and nobody of another descriptor', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'rr-')); // a checkout's path may be too long for a socket
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'socket');
  const server = createServer().listen(path);
  t.teardown(() => server.close());
  const client = connect(path);
  t.teardown(() => client.destroy());
  const [accepted] = await once(server, 'connection');
  t.teardown(() => accepted.destroy());

  const found = native().peerOf(accepted._handle.fd);

  t.same(found, { pid: process.pid, uid: process.getuid?.() });
  t.throws(() => native().peerOf(9999), { code: 'EBADF' });
  t.throws(() => native().peerOf('x' as unknown as number), TypeError);
});
