import t from 'tap';
import { etcdOptionsOf } from '../../lib/agent/meet-etcd.js';

const members = [
  { host: 'e0', port: 2379 },
  { host: '::1', port: 1 },
];

t.test('R-053 members become URLs, and files count with https alone', t => {
  const files = { ca: 'a.pem', cert: 'c.pem', key: 'k.pem' };
  const user = { name: 'agent', password: 'secret' };

  t.match(etcdOptionsOf({ leaseMs: 5_000, etcd: { protocol: 'https', ...files, user } }, members), {
    endpoints: ['https://e0:2379', 'https://[::1]:1'],
    ...files,
    user,
  });
  const plain = etcdOptionsOf({ leaseMs: 5_000, etcd: files }, members);
  t.strictSame(plain.endpoints, ['http://e0:2379', 'http://[::1]:1']);
  t.notOk('ca' in plain || 'cert' in plain || 'key' in plain);
  t.end();
});

t.test('R-047 two members that hang leave the time to ask a third before the fence', t => {
  for (const leaseMs of [2_000, 5_000, 15_000, 60_000]) {
    const { renewTimeoutMs = 0, timeoutMs = 0 } = etcdOptionsOf({ leaseMs }, members);
    // One is tried each fifth of a lease, and the fence is at four fifths.
    t.ok(leaseMs / 5 + 2 * renewTimeoutMs <= 0.6 * leaseMs, `${renewTimeoutMs} of ${leaseMs}`);
    t.ok(timeoutMs < leaseMs, `${timeoutMs} of ${leaseMs}`);
  }
  t.end();
});
