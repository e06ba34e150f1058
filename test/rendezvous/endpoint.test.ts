import { networkInterfaces } from 'node:os';
import t from 'tap';
import {
  type Interfaces,
  isHostOf,
  type Lookup,
  type Machine,
  ownAddress,
} from '../../lib/rendezvous/endpoint.js';
import { deferred } from '../../lib/util/deferred.js';

const v4 = (address: string, internal = false) => ({ address, family: 'IPv4', internal }) as const;
const v6 = (address: string, internal = false) => ({ address, family: 'IPv6', internal }) as const;

const interfaces: Interfaces = {
  lo: [v4('127.0.0.1', true), v6('::1', true)],
  'kube-ipvs0': [v4('10.96.0.10')],
  docker0: [v6('fe80::1')],
  eth0: [v4('10.0.0.5'), v6('fe80::a:5'), v6('fd00::5')],
  ib0: [v4('192.168.7.5'), v4('169.254.7.5')],
};
const machine: Machine = { interfaces, hostname: 'node5' };

/** A name service that knows these, and is asked for nothing else. */
function names(known: Readonly<Record<string, readonly string[]>> = {}): Lookup & {
  readonly asked: string[];
  readonly paused: number[];
} {
  const asked: string[] = [];
  const paused: number[] = [];
  return {
    asked,
    paused,
    resolve: async name => {
      asked.push(name);
      const addresses = known[name];
      if (addresses === undefined) throw new Error('ENOTFOUND');
      return addresses;
    },
    pause: async ms => {
      paused.push(ms);
    },
    signal: new AbortController().signal,
  };
}

t.test('R-027 names and addresses of this machine make it the host, without a look-up', async t => {
  const own: [why: string, host: string, hostname?: string][] = [
    ['loopback', 'localhost'],
    ['in any case', 'LocalHost'],
    ['a loopback address', '127.0.0.1'],
    ["Debian's for its own name", '127.0.1.1'],
    ['of IPv6', '::1'],
    ['all addresses', '0.0.0.0'],
    ['the name', 'node5'],
    ['the name in any case, #73380', 'NODE5'],
    ['a short name of a long one, #73656', 'node5', 'node5.cluster.example'],
    ['a long name, with its dot', 'node5.cluster.example.', 'node5.cluster.example'],
    ['an address', '10.0.0.5'],
    ['that of another interface, #79388', '192.168.7.5'],
    ['one of IPv6', 'fd00::5'],
    ['written otherwise', 'FD00:0:0::0005'],
    ['a mapped one', '::ffff:10.0.0.5'],
    ['R-055 of a link', 'fe80::a:5%eth0'],
    ['R-055 of a link by its number', 'fe80::a:5%3'],
  ];
  for (const [why, host, hostname = 'node5'] of own) {
    const lookup = names();
    t.equal(await isHostOf(host, { ...machine, ...lookup, hostname }), true, `${why}: ${host}`);
    t.strictSame(lookup.asked, []);
  }
});

t.test('R-027 those of others do not', async t => {
  const others: [why: string, host: string][] = [
    ['another address', '10.0.0.6'],
    ["a service's, which each node of a cluster has", '10.96.0.10'],
    ["another link's", 'fe80::1%eth0'],
  ];
  for (const [why, host] of others) {
    const lookup = names();
    t.equal(await isHostOf(host, { ...machine, ...lookup }), false, `${why}: ${host}`);
    t.strictSame(lookup.asked, []);
  }
});

t.test('R-027 any other name is what it resolves to', async t => {
  const cases: [why: string, addresses: readonly string[], isHost: boolean][] = [
    ['an alias of this machine, #64926', ['10.0.0.5'], true],
    ['one of several', ['10.0.0.9', 'fd00::5'], true],
    ['loopback by /etc/hosts', ['127.0.1.1'], true],
    ['an address of IPv4 that needs no link', ['169.254.7.5'], true],
    ['another machine', ['10.0.0.9'], false],
    ['a service, #107021', ['10.96.0.10'], false],
    ['an address of a link that nobody has told', ['fe80::1'], false],
  ];
  for (const [why, addresses, isHost] of cases) {
    const lookup = names({ master: addresses });
    t.equal(await isHostOf('master', { ...machine, ...lookup }), isHost, why);
    t.strictSame(lookup.asked, ['master'], 'once, and no address is asked for its name');
  }
});

t.test('R-027 is_host wins, and nothing is looked up', async t => {
  for (const [host, isHost] of [
    ['localhost', false],
    ['elsewhere', true],
  ] as const) {
    const lookup = names();
    t.equal(await isHostOf(host, { ...machine, ...lookup, isHost }), isHost);
    t.strictSame(lookup.asked, []);
  }
});

t.test(
  "a pod's long name counts by its address, and by its first part while nobody knows it",
  async t => {
    const pod = { ...machine, hostname: 'job-0' };
    const known = names({ 'job-0.elsewhere': ['10.0.0.9'] });

    t.equal(await isHostOf('job-0.job', { ...pod, ...names() }), true);
    t.equal(await isHostOf('job-0.elsewhere', { ...pod, ...known }), false);
  },
);

t.test('#73682 a name that is not known yet is asked for again, with growing pauses', async t => {
  const lookup = names();
  const answers = [
    ...Array.from({ length: 6 }, () => Promise.reject(new Error('EAI_AGAIN'))),
    Promise.resolve([]),
    Promise.resolve(['10.0.0.5']),
  ];
  for (const answer of answers) answer.catch(() => undefined);
  const resolve = () => answers.shift() ?? Promise.reject(new Error('asked once more'));

  t.equal(await isHostOf('master', { ...machine, ...lookup, resolve }), true);
  t.strictSame(lookup.paused, [100, 200, 400, 800, 1600, 2000, 2000]);
});

t.test('#73682 until the deadline: then it is another machine', async t => {
  const deadline = new AbortController();
  const lookup = names();
  const pause = async (): Promise<void> => {
    if (lookup.asked.length < 3) return;
    deadline.abort();
    throw new Error('AbortError');
  };

  const isHost = await isHostOf('master', {
    ...machine,
    ...lookup,
    pause,
    signal: deadline.signal,
  });

  t.equal(isHost, false);
  t.equal(lookup.asked.length, 3);
});

t.test('#73682 a name service that does not come back is left at the deadline', async t => {
  const deadline = new AbortController();
  const hanging = deferred<readonly string[]>();
  const resolve = () => hanging.promise;
  const answer = isHostOf('master', {
    ...machine,
    ...names(),
    resolve,
    signal: deadline.signal,
  });

  deadline.abort();

  t.equal(await answer, false);
  hanging.reject(new Error('an answer that nobody waits for is no unhandled rejection'));
});

t.test('a node is known by the local end of its connection to the endpoint', t => {
  const cases: [why: string, local: string, endpointIsLoopback: boolean, own: string][] = [
    ['an address', '10.0.0.5', false, '10.0.0.5'],
    ['not the first', '192.168.7.5', false, '192.168.7.5'],
    ['a mapped one', '::ffff:10.0.0.5', false, '10.0.0.5'],
    ['of IPv6', 'fd00::5', false, 'fd00::5'],
    ['R-055 of a link', 'fe80::a:5', false, 'fe80::a:5%eth0'],
    ['R-055 of a link that it has', 'fe80::a:5%eth0', false, 'fe80::a:5%eth0'],
    ['nodes of one machine', '127.0.0.1', true, '127.0.0.1'],
    ['of IPv6', '::1', true, '::1'],
    ['a host that reaches itself, #150532', '127.0.1.1', false, '10.0.0.5'],
    ['as both families', '::ffff:127.0.0.1', false, '10.0.0.5'],
    ['by IPv6', '::1', false, 'fd00::5'],
  ];
  for (const [why, local, endpointIsLoopback, own] of cases)
    t.equal(ownAddress(local, { interfaces, endpointIsLoopback }), own, `${why}: ${local}`);
  t.end();
});

t.test('--local-addr wins', t => {
  const own = (localAddr: string) =>
    ownAddress('10.0.0.5', { localAddr, interfaces, endpointIsLoopback: false });

  t.equal(own('node5.cluster.example'), 'node5.cluster.example');
  t.equal(own('[fd00::7]'), 'fd00::7');
  t.end();
});

t.test('a machine without a fitting address says the best that it has', t => {
  const at = (some: Interfaces, local = '127.0.0.1') =>
    ownAddress(local, { interfaces: some, endpointIsLoopback: false });
  const { lo } = interfaces;

  t.equal(at({ lo, eth0: [v6('fe80::5'), v6('fd00::5')] }), 'fd00::5', 'of the other family');
  t.equal(at({ lo, eth0: [v6('fe80::5')] }), 'fe80::5%eth0', 'of its link');
  t.equal(at({ lo }), '127.0.0.1', 'its own');
  t.equal(at({}, 'fe80::7'), 'fe80::7', 'of a link that has gone');
  t.end();
});

t.test("Node's own list of interfaces is one", t => {
  t.type(
    ownAddress('127.0.0.1', { interfaces: networkInterfaces(), endpointIsLoopback: false }),
    'string',
  );
  t.end();
});
