import { spawnSync } from 'node:child_process';
import t, { type Test } from 'tap';
import type { Coordination } from '../../lib/coordination/coordination.js';
import { connectEtcd, type EtcdOptions } from '../../lib/coordination/etcd.js';
import { codeOf } from './conformance/begin.js';
import { conformance } from './conformance.js';
import {
  askEtcd,
  enableUsers,
  hasty,
  leaderOf,
  startEtcd,
  startEtcdCluster,
  writeCertificates,
} from './etcd-server.js';
import { record, revisionOf, textOf } from './recorder.js';

/** In CI it must be there. */
const noEtcd =
  spawnSync('etcd', ['--version']).status === 0 || process.env.CI
    ? false
    : 'no etcd: `apt-get install --no-install-recommends etcd-server`';

/** For an answer that nothing holds up; longer than a disk takes that others write to as well. */
const patientMs = 6_000;

/** A client that is closed with the test. */
async function connect(t: Test, options: EtcdOptions): Promise<Coordination> {
  const c = await connectEtcd(options);
  t.teardown(() => c.close());
  return c;
}

t.test('a single member is an engine', { skip: noEtcd }, async t => {
  const member = await startEtcd(t);

  await conformance(t, {
    connect: () =>
      connectEtcd({ endpoints: [member.url], timeoutMs: patientMs, watchCheckMs: 1000 }),
    async restart() {
      await member.kill();
      await member.start();
    },
    async compact(revision) {
      await askEtcd(member.url, '/v3/kv/compaction', { revision: String(revision) });
    },
    freeze: member.freeze,
    thaw: member.thaw,
  });
});

t.test('a cluster of three is one', { skip: noEtcd }, async t => {
  const members = await startEtcdCluster(t, 3);
  const endpoints = members.map(({ url }) => url);

  await conformance(t, {
    connect: () => connectEtcd({ endpoints, timeoutMs: patientMs, watchCheckMs: 1000 }),
    async compact(revision) {
      await askEtcd(members[1]?.url ?? '', '/v3/kv/compaction', { revision: String(revision) });
    },
    freeze: async () => members[0]?.freeze(),
    thaw: () => members[0]?.thaw(),
  });
});

for (const how of ['killed', 'frozen'] as const) {
  for (const who of ['leader', 'follower'] as const) {
    t.test(`a cluster goes on without a ${who} that is ${how}`, { skip: noEtcd }, async t => {
      const members = await startEtcdCluster(t, 3, { args: hasty });
      const leader = await leaderOf(members);
      const lost = who === 'leader' ? leader : members.find(member => member !== leader);
      if (lost === undefined) throw new Error('no such member');
      const others = members.filter(member => member !== lost);
      const endpoints = [lost, ...others].map(({ url }) => url);
      // These are served by the one that will be lost, until then.
      const c = await connect(t, { endpoints, timeoutMs: 2000, watchCheckMs: 500 });
      const lease = await until(() => c.lease(60_000));
      const from = await until(() => c.put('a', 'before', lease));
      const watch = record(c, 'a', from);
      await watch.told('put a=before');

      if (how === 'killed') await lost.kill();
      else await lost.freeze();

      // Others have to elect a leader, which isn't ours to wait for: we try until it's done.
      const d = await until(() => connectEtcd({ endpoints: others.map(({ url }) => url) }));
      t.teardown(() => d.close());
      const last = await until(() => d.put('a', 'after'));
      await watch.told(last);
      await until(() => lease.renew());
      const read = await until(() => c.get('a'));
      t.match(read.entries, [{ value: 'after' }]);
      await until(() => c.put('a', 'end'));
      await watch.told('put a=end');

      // What was uncertain may have been done, and was then done again by this test: but each is told once.
      const revisions = watch.events.map(revisionOf);
      t.strictSame(
        revisions,
        [...new Set(revisions)].sort((a, b) => a - b),
      );
      t.equal(watch.events.map(textOf)[0], 'put a=before');
    });
  }
}

t.test(
  'without a majority nothing is done, and a watch goes on later',
  { skip: noEtcd },
  async t => {
    const members = await startEtcdCluster(t, 3, { args: hasty });
    const [left, ...others] = members;
    if (left === undefined) throw new Error('none of three');
    const c = await connect(t, { endpoints: [left.url], timeoutMs: 2000, watchCheckMs: 500 });
    const from = await until(() => c.put('a', '1'));
    const watch = record(c, 'a', from);
    await watch.told('put a=1');

    await Promise.all(others.map(member => member.kill()));
    const error = await codeOf(() => c.put('a', 'unsure'));
    t.ok(['UNAVAILABLE', 'TIMEOUT'].includes(error), error);
    // Now it knows, and refuses at once what it can't do.
    const certain = await untilThat(
      () => rejection(c.put('a', 'no')),
      e => /no leader/.test(e.message),
    );
    t.match(certain, { code: 'UNAVAILABLE', isUncertain: false, message: /majority/ });
    await Promise.all(others.map(member => member.start()));
    const last = await until(() => c.put('a', '2'));
    await watch.told(last);

    t.ok(watch.events.every(event => textOf(event) !== 'put a=no'));
    t.equal(textOf(watch.events.at(-1) as never), 'put a=2');
  },
);

t.test('users, passwords and tokens', { skip: noEtcd }, async t => {
  const member = await startEtcd(t);
  const endpoints = [member.url];
  const noUsers = await connect(t, { endpoints, user: { name: 'root', password: 'early' } });
  await noUsers.put('b/1', 'theirs');
  await addUsers(member.url);

  t.test('wrong ones are refused, in words that name no password', async t => {
    const name = 'agent';
    for (const user of [undefined, { name, password: 'wr0ng' }, { name: 'x', password: 'wr0ng' }]) {
      const error = await rejection(connectEtcd({ endpoints, user }));
      t.match(error, { code: 'DENIED', isUncertain: false });
      t.match(error.message, /password/);
      t.notMatch(error.message, /wr0ng/);
    }
  });

  t.test('a user has its own keys, and no others', async t => {
    const c = await connect(t, { endpoints, user: { name: 'agent', password: 'secret' } });

    await c.put('a/1', '');
    t.match((await c.get('a/')).entries, [{ key: 'a/1' }]);
    t.equal(await codeOf(() => c.put('b/1', '')), 'DENIED');
    t.equal(await codeOf(() => c.get('b/')), 'DENIED');
    t.equal((await record(c, 'b/', 1).ended).code, 'DENIED');
  });

  t.test('a token that is forgotten is asked for again, by calls and by watches', async t => {
    const c = await connect(t, { endpoints, user: { name: 'agent', password: 'secret' } });
    const from = await c.put('a/2', '1');
    const watch = record(c, 'a/2', from);
    await watch.told('put a/2=1');

    await member.kill();
    await member.start();
    const last = await until(() => c.put('a/2', '2'));
    await watch.told(last);

    t.strictSame(watch.events.map(textOf), ['put a/2=1', 'put a/2=2']);
    t.match(await c.get('a/2'), { entries: [{ value: '2' }] });
  });
});

t.test('certificates', { skip: noEtcd }, async t => {
  const files = writeCertificates(t);
  const member = await startEtcd(t, { tls: files.server });
  const endpoints = [member.url];
  const { ca, cert, key } = files.client;

  t.test('with ours and its own all is well', async t => {
    const c = await connect(t, { endpoints, ca, cert, key });
    const watch = record(c, 'a', (await c.get('a')).revision + 1);
    await c.put('a', '');
    await watch.told('put a=');
  });

  for (const [title, options, message] of [
    ['without ours', { ca }, /wants one|see cert and key/],
    ['with one of somebody else', { ca, ...files.stranger }, /see cert and key/],
    ['without its authority', { cert, key }, /isn't to be trusted \(.*; see ca/],
    ['for another name', { ca, cert, key, host: 'localhost' }, /isn't to be trusted \(.*altnames/],
  ] as const) {
    t.test(`${title} it's denied`, async t => {
      const { host = '127.0.0.1', ...tls } = { host: undefined, ...options };
      const urls = endpoints.map(url => url.replace('127.0.0.1', host));
      const error = await rejection(connectEtcd({ endpoints: urls, ...tls }));
      t.match(error, { code: 'DENIED', isUncertain: false, message });
      t.ok(error.message.includes(urls[0] ?? ''), error.message);
    });
  }

  t.test('HTTP where it speaks TLS', async t => {
    const http = endpoints.map(url => url.replace('https', 'http'));
    const error = await rejection(connectEtcd({ endpoints: http }));
    t.match(error, { code: 'UNAVAILABLE', message: /begins with https:/ });
  });
});

t.test('TLS where it speaks HTTP; a value too large; no room left', { skip: noEtcd }, async t => {
  const quota = 8 * 2 ** 20;
  const member = await startEtcd(t, { args: [`--quota-backend-bytes=${quota}`] });
  const https = member.url.replace('http', 'https');
  t.match(await rejection(connectEtcd({ endpoints: [https] })), {
    code: 'UNAVAILABLE',
    message: /begins with http:/,
  });

  const c = await connect(t, { endpoints: [member.url] });
  const large = 'x'.repeat(2 ** 20);
  t.match(await rejection(c.put('a', large + large)), {
    code: 'INVALID',
    message: /larger? .*; see --max-request-bytes/,
  });
  const error = await untilThat(
    () =>
      c.put('a', large).then(
        () => undefined,
        (error: unknown) => error,
      ),
    error => error !== undefined,
  );
  t.match(error, { code: 'FULL', isUncertain: false, message: /defragment/ });
});

/** User `agent` with `secret` may read and write what begins with `a/`. */
async function addUsers(url: string): Promise<void> {
  const range = { key: base64('a/'), range_end: base64('a0') };
  await enableUsers(url, [
    ['user/add', { name: 'agent', password: 'secret' }],
    ['role/add', { name: 'agents' }],
    ['role/grant', { name: 'agents', perm: { permType: 'READWRITE', ...range } }],
    ['user/grant', { user: 'agent', role: 'agents' }],
  ]);
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Tries again while the cluster is busy with itself; the test's time limit bounds it. */
async function until<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const { code } = error as { code?: string }; // of a CoordinationError, or another's
      if (code !== 'UNAVAILABLE' && code !== 'TIMEOUT') throw error;
    }
  }
}

async function untilThat<T>(attempt: () => Promise<T>, isIt: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await attempt();
    if (isIt(value)) return value;
  }
}

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error; // all that ours throws are
  }
  throw new Error("it didn't reject");
}
