import t from 'tap';
import { addressOfInterface, checkInterface } from '../../lib/rendezvous/interface.js';

const interfaces = {
  lo: [{ address: '127.0.0.1', family: 'IPv4', internal: true } as const],
  eth0: [
    { address: '10.0.0.7', family: 'IPv4', internal: false } as const,
    { address: 'fe80::7', family: 'IPv6', internal: false } as const,
    { address: 'fd00::7', family: 'IPv6', internal: false } as const,
  ],
  eth1: [{ address: '10.88.0.7', family: 'IPv4', internal: false } as const],
  link0: [{ address: 'fe80::8', family: 'IPv6', internal: false } as const],
};

t.test("MN-52 an interface's address is its first one of the endpoint's family", async t => {
  t.equal(addressOfInterface('eth1', interfaces, '10.0.0.7'), '10.88.0.7');
  t.equal(addressOfInterface('eth0', interfaces, '::ffff:10.88.0.7'), '10.0.0.7');
  t.equal(addressOfInterface('eth0', interfaces, 'fd00::9'), 'fd00::7', 'rather not of one link');
  t.equal(addressOfInterface('link0', interfaces, 'fd00::9'), 'fe80::8%link0');
});

t.test(
  'an interface that is not there, or has no such address, is refused with what is',
  async t => {
    const all =
      'give one of lo (127.0.0.1), eth0 (10.0.0.7, fe80::7, fd00::7), eth1 (10.88.0.7), link0 (fe80::8)';

    t.throws(() => checkInterface('ib0', interfaces), {
      code: 'ERR_OPTION',
      message: `interface: no network interface "ib0" has an address here; ${all}`,
    });
    t.throws(() => checkInterface('constructor', interfaces), { code: 'ERR_OPTION' });
    t.throws(() => addressOfInterface('eth1', interfaces, 'fd00::9'), {
      code: 'ERR_OPTION',
      message: `interface: eth1 has no IPv6 address, as the endpoint's is, but 10.88.0.7; ${all}`,
    });
    for (const name of Object.keys(interfaces))
      t.doesNotThrow(() => checkInterface(name, interfaces));
  },
);
