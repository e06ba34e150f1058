import t from 'tap';
import {
  everyHost,
  hostsOfName,
  numericHosts,
  resolveHosts,
} from '../../lib/store/master-hosts.js';

const loopback = ['127.0.0.1', '::1'];

t.test('an address is served as it is, and localhost at both of its addresses', t => {
  const cases: [string, unknown][] = [
    ['localhost', [loopback, ['127.0.0.1']]],
    ['127.0.0.1', [loopback, ['127.0.0.1']]],
    ['10.0.0.1', [['10.0.0.1']]],
    ['::1', [['::1']]],
    ['fe80::1%eth0', [['fe80::1%eth0']]],
    ['0.0.0.0', [['0.0.0.0']]],
    ['node0', undefined],
    ['10.example', undefined],
    ['*', undefined],
  ];
  for (const [address, hosts] of cases) t.strictSame(numericHosts(address), hosts, address);
  t.end();
});

t.test(
  'T-087 a name is served at its addresses on this machine and at loopback, and nowhere else',
  t => {
    const own = new Set(['127.0.0.1', '::1', '10.0.0.1', 'fd00::1', 'fe80::1']);
    const cases: [readonly string[], readonly string[]][] = [
      [['10.0.0.1'], ['10.0.0.1', ...loopback]],
      [
        ['fd00::1', '10.0.0.1'],
        ['fd00::1', '10.0.0.1', ...loopback],
      ],
      // As Debian has it for its own name.
      [['127.0.1.1'], ['127.0.1.1', ...loopback]],
      [['127.0.0.1', '127.0.0.1'], loopback],
      // Workers that try the other first get there in the end.
      [
        ['192.0.2.1', '10.0.0.1'],
        ['10.0.0.1', ...loopback],
      ],
      [
        ['fe80::1', '10.0.0.1'],
        ['10.0.0.1', ...loopback],
      ],
    ];
    for (const [resolved, hosts] of cases)
      t.strictSame(hostsOfName('node0', resolved, own), { hosts: [hosts] }, resolved.join());
    t.end();
  },
);

t.test('F-F10 a name for another machine is served everywhere, and doubted', t => {
  t.strictSame(hostsOfName('node0', ['192.0.2.1'], new Set(['10.0.0.1'])), {
    hosts: everyHost,
    doubt:
      'node0 resolves to 192.0.2.1, which is no address of this machine; workers wait until it leads here, ' +
      'so give localhost unless it does',
  });
  t.end();
});

t.test('F-F10 a name that means nothing here is an error that says so', async t => {
  await t.rejects(resolveHosts('nosuch.invalid', new AbortController().signal), {
    code: 'ERR_PORT',
    message:
      /^cannot serve the store at nosuch\.invalid: the name can't be resolved here \((ENOTFOUND|EAI_AGAIN)\); give an address of this machine, or localhost$/,
  });
});

t.test('a look-up that is given up ends at once', async t => {
  const giveUp = new AbortController();
  const resolved = resolveHosts('nosuch.invalid', giveUp.signal);
  giveUp.abort();
  await t.rejects(resolved, { code: 'ERR_PORT' });
});
