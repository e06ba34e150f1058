import t from 'tap';
import { type LaunchOptions, withDefaults } from '../../lib/options/launch-options.js';

const script: LaunchOptions = { entrypoint: { script: 'train.py' } };
const two: LaunchOptions = { ...script, minNodes: 2, rdzvEndpoint: 'node0:29400', runId: 'job' };

function refusalOf(options: object): { code?: string; message?: string } {
  try {
    withDefaults(options as LaunchOptions); // what a caller in JavaScript may pass
  } catch (error) {
    return error as Error & { code: string };
  }
  return {};
}

t.test('as many nodes may come as are needed, unless more may', t => {
  t.match(withDefaults(script), { minNodes: 1, maxNodes: 1 });
  t.match(withDefaults(two), { minNodes: 2, maxNodes: 2 });
  t.match(withDefaults({ ...two, maxNodes: 4 }), { minNodes: 2, maxNodes: 4 });
  t.match(withDefaults({ ...two, maxNodes: 6, nodesPerUnit: 3 }), { nodesPerUnit: 3 });
  t.match(withDefaults({ ...two, maxNodes: 8, nodesSet: [8, 2, 4] }), { nodesSet: [8, 2, 4] });
  t.match(withDefaults({ ...two, spares: 0 }), { spares: 0 });
  t.match(withDefaults({ ...two, groupSize: 2, nodeGroup: 'rack1' }), { nodeGroup: 'rack1' });
  t.end();
});

t.test('node 0 of a static job hosts, and nobody else does', t => {
  const fixed: LaunchOptions = { ...two, rdzvBackend: 'static' };

  t.equal(withDefaults({ ...fixed, nodeRank: 0 }).isHost, true);
  t.equal(withDefaults({ ...fixed, nodeRank: 1 }).isHost, false);
  t.equal(withDefaults({ ...fixed, nodeRank: 1, isHost: true }).isHost, true);
  t.notOk('isHost' in withDefaults({ ...two, nodeRank: 0 }), 'with c10d its addresses decide');
  t.end();
});

t.test('the rank of a c10d node is a hint, and may be any', t => {
  t.equal(withDefaults({ ...two, nodeRank: 17 }).nodeRank, 17);
  t.end();
});

t.test('MN-74 schedulers may start the nodes of a job minutes apart', t => {
  t.ok(withDefaults({ ...two, nodeRank: 0 }).joinTimeoutMs >= 10 * 60_000);
  t.end();
});

t.test('R-026 R-055 every form of endpoint that has a port is accepted', t => {
  for (const rdzvEndpoint of ['n:1', '10.0.0.1:29400', '[::1]:5', '[fe80::1%eth0]:5', '::1:29400'])
    t.equal(withDefaults({ ...two, rdzvEndpoint }).rdzvEndpoint, rdzvEndpoint);
  t.end();
});

t.test('R-053 an etcd may be named by several of its members, with what gets into it', t => {
  const atEtcd: LaunchOptions = { ...two, rdzvBackend: 'etcd', rdzvEndpoint: 'a:1, [::1]:2' };
  const user = { name: 'agent', password: 'secret' };
  for (const etcd of [
    {},
    { protocol: 'https', ca: 'ca.pem' },
    { protocol: 'https', cert: 'c.pem', key: 'k.pem', user },
    { user },
  ] as const)
    t.match(withDefaults({ ...atEtcd, etcd }), { rdzvEndpoint: 'a:1, [::1]:2', etcd });
  t.end();
});

t.test('what does not fit is refused with the option, what is wrong, and what to try', t => {
  const cases: [option: string, options: object, text: string][] = [
    ['minNodes', { ...two, minNodes: 0 }, 'give a whole number from 1'],
    ['maxNodes', { ...two, maxNodes: 1 }, '1 is below minNodes, 2; give as many at least'],
    [
      'nodesPerUnit',
      { ...two, maxNodes: 7, nodesPerUnit: 2 },
      '2 does not divide the most nodes, 7; give a divisor of it',
    ],
    ['nodesPerUnit', { ...script, nodesPerUnit: 2 }, '2 does not divide the most nodes, 1'],
    ['groupSize', { ...two, maxNodes: 4, groupSize: 3 }, '3 does not divide the most nodes, 4'],
    ['nodeGroup', { ...two, groupSize: 2 }, 'groups of 2 nodes need it; give the name of this'],
    ['nodeGroup', { ...two, nodeGroup: '' }, 'a text'],
    [
      'nodeGroup',
      { ...two, rdzvBackend: 'static', nodeRank: 0, nodeGroup: 'rack1' },
      'with static the ranks are given; give another backend',
    ],
    ['nodesSet', { ...two, nodesSet: 2 }, 'a list of whole numbers from 1'],
    ['nodesSet', { ...two, nodesSet: [0] }, 'a list of whole numbers from 1'],
    [
      'nodesSet',
      { ...two, maxNodes: 4, nodesSet: [2, 4, 8] },
      "a round can't have 8 nodes; give numbers from 2 to 4",
    ],
    ['nodesSet', { ...two, maxNodes: 4, nodesSet: [1, 2] }, "a round can't have 1 nodes"],
    [
      'nodesSet',
      { ...two, maxNodes: 8, nodesPerUnit: 4, groupSize: 2, nodeGroup: 'a', nodesSet: [8, 6] },
      "a round can't have 6 nodes; give multiples of 4 and 2 from 2 to 8",
    ],
    ['strikes', { ...two, strikes: 3 }, "{ failures, perMs } or 'off'"],
    ['strikes', { ...two, strikes: { failures: 0, perMs: 1 } }, "{ failures, perMs } or 'off'"],
    ['spares', { ...two, spares: -1 }, 'a whole number from 0'],
    ['rdzvBackend', { ...two, rdzvBackend: 'etcd-v2' }, "'c10d' or 'static' or 'etcd'"],
    ['rdzvEndpoint', { ...script, maxNodes: 2, runId: 'job' }, 'several nodes need a place'],
    ['rdzvEndpoint', { ...two, rdzvEndpoint: 'node0' }, 'HOST:PORT with a port from 1'],
    ['rdzvEndpoint', { ...two, rdzvEndpoint: 'node0:0' }, 'HOST:PORT with a port from 1'],
    ['rdzvEndpoint', { ...two, rdzvEndpoint: 'http://node0:1' }, 'HOST:PORT with a port from 1'],
    ['rdzvEndpoint', { ...two, rdzvEndpoint: 'fd00::1:5000' }, 'put the address in brackets'],
    ['rdzvEndpoint', { ...two, rdzvEndpoint: 'a:1,b:2' }, 'only an etcd has them; give one'],
    ['rdzvEndpoint', { ...two, rdzvBackend: 'etcd', rdzvEndpoint: 'a:1,b' }, 'HOST:PORT with a'],
    ['etcd', { ...two, etcd: 'http://root:s3cret@e0' }, 'a text is not accepted; give { protocol?'],
    ['etcd', { ...two, etcd: { protocol: 'grpc' } }, 'protocol: "grpc" is not accepted'],
    ['etcd', { ...two, etcd: { cert: 'c.pem' } }, 'with both cert and key or neither'],
    ['etcd', { ...two, etcd: { user: { name: 'a', password: 1 } } }, 'user: password: a number'],
    ['etcd', { ...two, etcd: { user: 'root:s3cret' } }, 'user: a text is not accepted; give'],
    ['etcd', { ...two, etcd: { user: { password: 's3cret' } } }, 'user: an object is not acc'],
    ['etcd', { ...two, etcd: { token: 's3cret' } }, 'it has no field "token"'],
    ['token', { ...two, token: 's3cret' }, 'a token of 6 characters may be guessed; give 16 to'],
    [
      'token',
      { ...two, token: 's3cret'.repeat(1000) },
      'it has more than 4096 characters; give 16',
    ],
    [
      'token',
      { ...two, token: `${'s3cret'.repeat(4)}\0` },
      "it has other characters than ASCII's printable ones; give 16 to",
    ],
    ['token', { ...two, token: ` ${'s3cret'.repeat(4)}` }, 'it begins or ends with a space; give'],
    ['token', { ...two, token: '' }, 'it is empty; give 16 to'],
    ['token', { ...two, token: ['s3cret'] }, 'a list is not accepted; give 16 to'],
    ['token', { ...two, rdzvBackend: 'etcd', token: 's3cret'.repeat(4) }, 'give etcd.user, or'],
    ...[
      { token: 's3cret'.repeat(4) },
      { nodesPerUnit: 2 },
      { nodesSet: [2] },
      { groupSize: 2, nodeGroup: 'rack1' },
      { spares: 0 },
    ].map((unknown): [string, object, string] => [
      Object.keys(unknown)[0] ?? '',
      { ...two, amongTorchrun: true, ...unknown },
      'agents of torchrun know nothing of it; leave it away, or amongTorchrun',
    ]),
    ['runId', { ...script, maxNodes: 2, rdzvEndpoint: 'a:1' }, 'give a text, the same on all'],
    [
      'minNodes',
      { ...two, rdzvBackend: 'static', nodeRank: 0, maxNodes: 3 },
      "static waits for all nodes, and 2 isn't maxNodes, 3",
    ],
    ['nodeRank', { ...two, rdzvBackend: 'static' }, 'static gives none by itself; give a number'],
    ['nodeRank', { ...two, rdzvBackend: 'static', nodeRank: 2 }, '2 is too high; give a number'],
    ['nodeRank', { ...two, nodeRank: -1 }, 'a whole number from 0'],
    ['isHost', { ...two, isHost: 1 }, 'true or false'],
    ['localAddr', { ...two, localAddr: '' }, 'a text'],
    ['interface', { ...two, interface: '' }, 'a text'],
    ['interface', { ...two, interface: 'eth1', localAddr: 'a' }, 'give one of the two'],
    ['portRange', { ...two, portRange: { first: 2 } }, '{ first, last }, ports from 1 to 65535'],
    ['portRange', { ...two, portRange: { first: 2, last: 2 } }, 'at least two of them'],
    ['portRange', { ...two, portRange: { first: 0, last: 1 } }, 'first: 0 is not accepted'],
    ['leaseMs', { ...two, leaseMs: 499 }, 'milliseconds from 500'],
    ['leaseMs', { ...two, leaseMs: '5s' }, 'milliseconds from 500'],
    ['agentStallMs', { ...two, agentStallMs: 4999 }, 'milliseconds from 5000'],
    ['agentStallMs', { ...two, agentStallMs: '1m' }, 'milliseconds from 5000'],
    ['lastCallMs', { ...two, lastCallMs: -1 }, 'milliseconds from 0'],
    ['joinTimeoutMs', { ...two, joinTimeoutMs: Number.NaN }, 'milliseconds from 0'],
    ['growDebounceMs', { ...two, growDebounceMs: -1 }, 'milliseconds from 0'],
    ['returnGraceMs', { ...two, returnGraceMs: -1 }, 'milliseconds from 0'],
  ];
  for (const [option, options, text] of cases) {
    const { code, message = 'accepted' } = refusalOf(options);
    t.equal(code, 'ERR_OPTION', message);
    t.ok(message.startsWith(`${option}: `) && message.includes(text), message);
    t.notMatch(message, /\n|s3cret/);
  }
  t.end();
});

t.test('one node needs none of it, and a place that nobody meets at does no harm', t => {
  t.match(withDefaults({ ...script, rdzvBackend: 'static' }), { maxNodes: 1 });
  t.match(withDefaults({ ...script, rdzvEndpoint: 'a:1', nodeRank: 3 }), { maxNodes: 1 });
  t.end();
});
