import t from 'tap';
import { addressOf, isLoopback, parseAddress } from '../../lib/util/address.js';

t.test('R-055 an IPv6 address is understood with and without brackets, and with a link', t => {
  const cases: [string, ReturnType<typeof parseAddress>][] = [
    ['[::1]:5', { host: '::1', port: 5 }],
    ['[::1]', { host: '::1' }],
    ['::1', { host: '::1' }],
    ['::', { host: '::' }],
    ['::1:29400', { host: '::1', port: 29_400 }],
    ['fd00:1:2:3:4:5:6:7', { host: 'fd00:1:2:3:4:5:6:7' }],
    ['fd00:1:2:3:4:5:6:7:80', { host: 'fd00:1:2:3:4:5:6:7', port: 80 }],
    ['fd00::12ab', { host: 'fd00::12ab' }],
    ['::ffff:10.0.0.1', { host: '::ffff:10.0.0.1' }],
    ['fe80::1%eth0', { host: 'fe80::1%eth0' }],
    ['fe80::1%eth0:29400', { host: 'fe80::1%eth0', port: 29_400 }],
    ['[fe80::1%eth0.7]:1', { host: 'fe80::1%eth0.7', port: 1 }],
    ['fd00::1:5000', 'unclear'],
    ['[fd00::1:5000]', { host: 'fd00::1:5000' }],
    ['[fd00::1]:5000', { host: 'fd00::1', port: 5000 }],
    ['[fe80::1%]:1', 'bad-host'],
    ['[:1', 'bad-host'],
    ['[]:1', 'bad-host'],
    [':::1:1', 'bad-host'],
  ];
  for (const [text, address] of cases) t.strictSame(parseAddress(text), address, text);
  t.end();
});

t.test('R-026 names and IPv4 addresses stand for themselves, with a port from 0 to 65535', t => {
  const cases: [string, ReturnType<typeof parseAddress>][] = [
    ['host', { host: 'host' }],
    ['node-0.job_1.svc:29400', { host: 'node-0.job_1.svc', port: 29_400 }],
    ['10.0.0.1:0', { host: '10.0.0.1', port: 0 }],
    ['host:65535', { host: 'host', port: 65_535 }],
    ['host:', 'bad-port'],
    ['host:65536', 'bad-port'],
    ['host:99999', 'bad-port'],
    ['host:-1', 'bad-port'],
    ['host:0x10', 'bad-port'],
    ['http://h:1', 'bad-host'],
    ['a:b:1', 'bad-host'],
    ['ho st', 'bad-host'],
    [':1', 'bad-host'],
    ['', 'bad-host'],
  ];
  for (const [text, address] of cases) t.strictSame(parseAddress(text), address, text);
  t.end();
});

t.test('what was parsed is written so that it is parsed again', t => {
  for (const text of ['host:1', '[::1]:29400', '[fe80::1%eth0]:1']) {
    const { host, port } = parseAddress(text) as { host: string; port: number };
    t.equal(addressOf(host, port), text);
  }
  t.end();
});

t.test('only localhost and addresses of loopback are loopback', t => {
  for (const host of [
    'localhost',
    'LOCALHOST',
    '127.0.0.1',
    '127.0.1.1',
    '::1',
    '::ffff:127.0.0.1',
  ])
    t.ok(isLoopback(host), host);
  for (const host of ['localhost.example', '127.0.0.1.example', '10.0.0.1', '::', '0.0.0.0', '::2'])
    t.notOk(isLoopback(host), host);
  t.end();
});
