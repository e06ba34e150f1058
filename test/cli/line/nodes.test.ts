import { chmodSync } from 'node:fs';
import t from 'tap';
import { type ParsedCommand, parseCommand } from '../../../lib/cli/line/args.js';
import type { CommandName, Env } from '../../../lib/cli/options/spec.js';
import { type LaunchOptions, withDefaults } from '../../../lib/options/launch-options.js';
import { nodesChecks } from '../../../lib/options/nodes.js';

function parse(line: string, env: Env = {}, command: CommandName = 'regroup'): ParsedCommand {
  const words = `${line} t.py`.split(' ').filter(word => word !== '');
  return parseCommand(command, words, env);
}

/** The options about nodes that a command line gives, beside those that chance or a default decides. */
function nodesOf(line: string, env?: Env, command?: CommandName): Record<string, unknown> {
  const parsed = parse(line, env, command);
  if (!('options' in parsed)) throw new Error(JSON.stringify(parsed));
  const names = [...Object.keys(nodesChecks), 'runId', 'masterAddr', 'masterPort'];
  const given = Object.entries(parsed.options).filter(([name]) => names.includes(name));
  // What the command line accepts must be good enough for whoever launches.
  withDefaults(parsed.options);
  return Object.fromEntries(given);
}

function noticesOf(line: string, env?: Env): readonly string[] {
  const parsed = parse(line, env);
  if (!('settings' in parsed)) throw new Error(JSON.stringify(parsed));
  return parsed.settings.notices.map(({ text }) => text);
}

const c10d = '--nnodes=2:4 --rdzv-backend=c10d --rdzv-endpoint=node0 --rdzv-id=job';
const elastic: LaunchOptions = {
  entrypoint: { script: 't.py' },
  minNodes: 2,
  maxNodes: 4,
  rdzvBackend: 'c10d',
  rdzvEndpoint: 'node0:29400',
  runId: 'job',
};
const { entrypoint: _, ...elasticNodes } = elastic;
const etcd = '--nnodes=2:4 --rdzv-backend=etcd --rdzv-endpoint=e0 --rdzv-id=job';
const etcdNodes = { ...elasticNodes, rdzvBackend: 'etcd', rdzvEndpoint: 'e0:2379' };
const fixed = {
  minNodes: 2,
  maxNodes: 2,
  rdzvBackend: 'static',
  rdzvEndpoint: '127.0.0.1:29500',
  runId: 'none',
  nodeRank: 0,
  joinTimeoutMs: 900_000,
};

const meanings: readonly [title: string, line: string, env: Env, nodes: object][] = [
  ['R-026: c10d without a port is at 29400', c10d, {}, elasticNodes],
  [
    'R-026: an endpoint may have blanks around it, and a port',
    '--nnodes=2 --rdzv-backend=c10d',
    { PET_RDZV_ENDPOINT: ' node0:7 ' },
    { minNodes: 2, maxNodes: 2, rdzvBackend: 'c10d', rdzvEndpoint: 'node0:7', runId: 'none' },
  ],
  ...(
    [
      ['[::1]', '[::1]:29400'],
      ['[::1]:5', '[::1]:5'],
      ['::1', '[::1]:29400'],
      ['fe80::1%eth0', '[fe80::1%eth0]:29400'],
      ['[fe80::1%eth0]:5', '[fe80::1%eth0]:5'],
    ] as const
  ).map(([given, rdzvEndpoint]): (typeof meanings)[number] => [
    `R-055: the endpoint ${given}`,
    c10d.replace('node0', given),
    {},
    { ...elasticNodes, rdzvEndpoint },
  ]),
  ['L-049: static nodes meet at the master address', '--nnodes=2', {}, fixed],
  [
    'L-049: each has the rank that it is given',
    '--nnodes 2 --node-rank 1 --master-addr=[fd00::1] --master-port=5 --rdzv-id=job',
    {},
    { ...fixed, nodeRank: 1, rdzvEndpoint: '[fd00::1]:5', runId: 'job' },
  ],
  [
    'L-105: the variables of Kubeflow start a job of several nodes',
    '',
    {
      PET_NNODES: '2',
      PET_NPROC_PER_NODE: '8',
      PET_NODE_RANK: '1',
      PET_MASTER_ADDR: 'job-node-0-0.job',
      PET_MASTER_PORT: '29500',
    },
    { ...fixed, nodeRank: 1, rdzvEndpoint: 'job-node-0-0.job:29500' },
  ],
  ['static waits for all', '--nnodes=1:2', {}, fixed],
  [
    'R-043: static has a time-out of its own',
    '--nnodes=2 --rdzv-conf=timeout=60,join_timeout=5',
    {},
    { ...fixed, joinTimeoutMs: 60_000 },
  ],
  [
    'R-026: keys of --rdzv-conf',
    `${c10d} --rdzv-conf=join_timeout=60,last_call_timeout=5,is_host=0,timeout=7,read_timeout=9,what=ever`,
    {},
    { ...elasticNodes, joinTimeoutMs: 60_000, lastCallMs: 5_000, isHost: false },
  ],
  [
    'MN-74: the time to join, from the environment',
    '--nnodes=2:4 --rdzv-backend=c10d --rdzv-endpoint=node0 --rdzv-id=job',
    { PET_RDZV_CONF: 'join_timeout=1800' },
    { ...elasticNodes, joinTimeoutMs: 1_800_000 },
  ],
  [
    'R-013: as long as torchrun would have taken for a silent node',
    `${c10d} --rdzv-conf=keep_alive_max_attempt=4,is_host=True`,
    {},
    { ...elasticNodes, leaseMs: 20_000, isHost: true },
  ],
  [
    'an option of ours wins over a key of torchrun',
    `${c10d} --lease=2s --rdzv-conf=keep_alive_interval=10`,
    {},
    { ...elasticNodes, leaseMs: 2_000 },
  ],
  [
    'a keep-alive that cannot be meant is none',
    `${c10d} --rdzv-conf=keep_alive_interval=0`,
    {},
    elasticNodes,
  ],
  [
    'times that no timer takes are the longest that one does',
    `${c10d} --rdzv-conf=join_timeout=99999999999`,
    {},
    { ...elasticNodes, joinTimeoutMs: 2 ** 31 - 1 },
  ],
  [
    "options of ours, in times' one grammar",
    `${c10d} --nnodes-unit=2 --lease=1500ms --agent-stall=2m --grow-debounce=1m --return-grace=0`,
    {},
    {
      ...elasticNodes,
      nodesPerUnit: 2,
      leaseMs: 1500,
      agentStallMs: 120_000,
      growDebounceMs: 60_000,
      returnGraceMs: 0,
    },
  ],
  [
    'who takes part',
    `${c10d} --nnodes-set=2,4 --spares=0 --node-group=rack1 --group-size=2`,
    { SLURM_TOPOLOGY_ADDR: 'top.leaf.node', SLURM_TOPOLOGY_ADDR_PATTERN: 'switch.switch.node' },
    { ...elasticNodes, nodesSet: [2, 4], spares: 0, nodeGroup: 'rack1', groupSize: 2 },
  ],
  [
    "the group that Slurm's topology says",
    `${c10d} --group-size=2`,
    { SLURM_TOPOLOGY_ADDR: 'top.leaf.node.a', SLURM_TOPOLOGY_ADDR_PATTERN: 'switch.switch.node' },
    { ...elasticNodes, nodeGroup: 'top.leaf', groupSize: 2 },
  ],
  [
    'a node alone is no group',
    c10d,
    { SLURM_TOPOLOGY_ADDR: 'node1.a', SLURM_TOPOLOGY_ADDR_PATTERN: 'node' },
    elasticNodes,
  ],
  [
    'static ranks are in no groups',
    '--nnodes=2',
    { SLURM_TOPOLOGY_ADDR: 'leaf.node', SLURM_TOPOLOGY_ADDR_PATTERN: 'switch.node' },
    fixed,
  ],
  [
    'failures that are too many for a node',
    `${c10d} --strikes=2/90s`,
    {},
    { ...elasticNodes, strikes: { failures: 2, perMs: 90_000 } },
  ],
  ['or none is', `${c10d} --strikes=off`, {}, { ...elasticNodes, strikes: 'off' }],
  ['a rank is a hint for c10d', `${c10d} --node-rank=3`, {}, { ...elasticNodes, nodeRank: 3 }],
  ['so is 0, where it is given', c10d, { PET_NODE_RANK: '0' }, { ...elasticNodes, nodeRank: 0 }],
  ['a hint below 0 is none', `${c10d} --node-rank=-1`, {}, elasticNodes],
  [
    "without one it's the node's number in its Slurm step",
    c10d,
    { SLURM_NODEID: '0', JOB_COMPLETION_INDEX: '7' },
    { ...elasticNodes, nodeRank: 0 },
  ],
  [
    "or the pod's in its Indexed Job",
    etcd,
    { SLURM_NODEID: '', JOB_COMPLETION_INDEX: '7' },
    { ...etcdNodes, nodeRank: 7 },
  ],
  [
    'an option wins over the scheduler',
    `${c10d} --node-rank=-1`,
    { SLURM_NODEID: '3' },
    elasticNodes,
  ],
  ['a number that is none says nothing', c10d, { SLURM_NODEID: '-1' }, elasticNodes],
  ['static ranks are told, and not guessed', '--nnodes=2', { SLURM_NODEID: '1' }, fixed],
  [
    'the address that others reach this node at',
    `${c10d} --local-addr=[fd00::7]`,
    {},
    { ...elasticNodes, localAddr: 'fd00::7' },
  ],
  [
    'MN-52: the interface whose address it is',
    `${c10d} --interface=eth1`,
    {},
    { ...elasticNodes, interface: 'eth1' },
  ],
  [
    'R-053: the members of an etcd, at its port unless they have another',
    etcd.replace('e0', 'e0,[::1]:7,e2'),
    {},
    { ...etcdNodes, rdzvEndpoint: 'e0:2379,[::1]:7,e2:2379' },
  ],
  [
    'R-026: what gets into an etcd, as the backend etcd has it',
    `${etcd} --rdzv-conf=protocol=https,cert=c.pem,key=k.pem,cacert=a.pem,timeout=60,etcd_prefix=/x`,
    {},
    {
      ...etcdNodes,
      joinTimeoutMs: 60_000,
      etcd: { protocol: 'https', ca: 'a.pem', cert: 'c.pem', key: 'k.pem' },
    },
  ],
  [
    'R-026: the same as etcd-v2 has it',
    `${etcd.replace('=etcd', '=etcd-v2')} --rdzv-conf=protocol=HTTPS,ssl_cert=c.pem,ssl_cert_key=k.pem,ca_cert=a.pem,timeout=9,join_timeout=60,keep_alive_interval=2`,
    {},
    {
      ...etcdNodes,
      joinTimeoutMs: 60_000,
      leaseMs: 6_000,
      etcd: { protocol: 'https', ca: 'a.pem', cert: 'c.pem', key: 'k.pem' },
    },
  ],
  [
    'a certificate whose file has its key',
    `${etcd} --rdzv-conf=protocol=https,cert=both.pem`,
    {},
    { ...etcdNodes, etcd: { protocol: 'https', cert: 'both.pem', key: 'both.pem' } },
  ],
  [
    "etcd's user, from the environment",
    `${etcd} --node-rank=3`,
    { REGROUP_ETCD_USER: 'agent', REGROUP_ETCD_PASSWORD: 'secret' },
    { ...etcdNodes, nodeRank: 3, etcd: { user: { name: 'agent', password: 'secret' } } },
  ],
  [
    'nodes of one machine need no endpoint',
    '--nnodes=2 --rdzv-backend=c10d',
    {},
    {
      minNodes: 2,
      maxNodes: 2,
      rdzvBackend: 'c10d',
      rdzvEndpoint: 'localhost:29400',
      runId: 'none',
    },
  ],
];

for (const [title, line, env, nodes] of meanings) {
  t.test(`${title}: ${JSON.stringify(line)}`, t => {
    t.strictSame(nodesOf(line, env), nodes);
    t.strictSame(nodesOf(line, env, 'regroup-launch'), nodes);
    t.end();
  });
}

t.test('a job of one node is told nothing about nodes', t => {
  const lines = [
    '--rdzv-backend=c10d --rdzv-endpoint=node0 --rdzv-id=a --node-rank=1 --rdzv-conf=join_timeout=5',
    '--lease=1s --agent-stall=9s --grow-debounce=1s --return-grace=1s --nnodes-unit=1 --nnodes=1:1 --rdzv-id=a --master-port=5',
    '--standalone --nnodes=1:4 --nnodes-unit=2 --rdzv-endpoint=node0',
    '--nnodes-set=1 --spares=2 --node-group=a --strikes=1/1s',
    '--rdzv-backend=etcd --rdzv-endpoint=e0,e1 --rdzv-id=a --rdzv-conf=protocol=https,cert=c.pem',
  ];
  for (const line of lines) {
    const given = Object.keys(nodesOf(line)).filter(name => name in nodesChecks);
    t.strictSame(given, [], line);
  }
  t.end();
});

t.test('what has an effect that one may not expect is told', t => {
  t.strictSame(noticesOf(`${c10d} --node-rank=3`), []);
  t.match(noticesOf(`${c10d} --node-rank=-1`), [/^node_rank is only used for static/]);
  t.match(noticesOf('--nnodes=1:2'), [/waits for all 2 nodes; --rdzv-backend=c10d starts with 1/]);
  t.match(noticesOf('--nnodes=2 --rdzv-backend=c10d'), [
    /^master_addr is only used for static/,
    /^without --rdzv-endpoint nodes meet at localhost:29400/,
  ]);
  t.match(noticesOf(`${etcd} --rdzv-conf=cacert=a.pem`), [/^etcd is asked by HTTP, without cert/]);
  t.end();
});

const complaints: readonly [line: string, text: string][] = [
  ['--nnodes=2 --standalone', '--nnodes=2: --standalone meets nobody'],
  [etcd.replace('e0', 'a,b:0'), "--rdzv-endpoint=a,b:0: the other nodes can't know a port"],
  [etcd.replace('e0', 'a,b:x'), "The port number of the rendezvous endpoint 'b:x'"],
  [etcd.replace('e0', 'https://a:1'), "The hostname of the rendezvous endpoint 'https://a:1'"],
  [`${etcd} --rdzv-conf=protocol=grpc`, 'The etcd protocol must be HTTP or HTTPS. (accepted: p'],
  [
    `${etcd.replace('=etcd', '=etcd-v2')} --rdzv-conf=protocol=grpc`,
    'The protocol must be HTTP or HTTPS. (accepted: protocol=http or https)',
  ],
  [`${etcd} --rdzv-conf=timeout=x`, "'timeout' does not represent a valid integer value"],
  [`${etcd} --rdzv-conf=join_timeout=0`, 'The join timeout (0:00:00) must be positive.'],
  ['--nnodes=2 --node-rank=2', '--node-rank=2: there is no such node among 2 (accepted: 0 to 1'],
  ['--nnodes=2 --node-rank=-1', '--node-rank=-1: there is no such node among 2'],
  ['--nnodes=2 --master-port=0', '--master-port=0: the other nodes'],
  ['--nnodes=2 --rdzv-endpoint=a', '--rdzv-endpoint=a: port is missing in endpoint: a'],
  [c10d.replace('node0', 'a:0'), "--rdzv-endpoint=a:0: the other nodes can't know a port"],
  [c10d.replace('node0', 'a:99999'), "The port number of the rendezvous endpoint 'a:99999'"],
  [c10d.replace('node0', 'http://a:1'), "The hostname of the rendezvous endpoint 'http://a:1'"],
  // MN-75: what was to name the host has failed, and a pipe has hidden that.
  ['--nnodes=2 --rdzv-endpoint=:15213', '--rdzv-endpoint=:15213: there is no host in the endpoint'],
  [c10d.replace('node0', ':15213'), '--rdzv-endpoint=:15213: there is no host in the endpoint'],
  [etcd.replace('e0', 'a,:7'), '--rdzv-endpoint=a,:7: there is no host in the endpoint'],
  [c10d.replace('node0', '[]:7'), '--rdzv-endpoint=[]:7: there is no host in the endpoint'],
  ['--nnodes=2 --master-addr=', '--master-addr=: there is no host in the endpoint'],
  [c10d.replace('node0', 'fd00::1:7'), '(accepted: [fd00::1]:7 or [fd00::1:7])'],
  [c10d.replace('=job', '='), "--rdzv-id=: without an id nodes don't know"],
  [
    `${c10d} --rdzv-conf=store_type=file`,
    "--rdzv-conf=store_type=file: nodes can't meet at a file",
  ],
  [`${c10d} --rdzv-conf=is_host=maybe`, "'is_host' does not represent a valid boolean value"],
  [
    `${c10d} --nnodes-unit=3`,
    '--nnodes-unit=3: 3 does not divide the most nodes, 4 (accepted: a divisor of it)',
  ],
  [
    `${c10d} --nnodes-set=2,3,8`,
    "--nnodes-set=2,3,8: a round can't have 8 nodes (accepted: numbers",
  ],
  [`${c10d} --nnodes-set=2:4`, '--nnodes-set=2:4: it is no list of numbers (accepted: N,…, like'],
  [`${c10d} --nnodes-set=2 --nnodes-unit=4`, '(accepted: multiples of 4 from 2 to 4)'],
  [
    `${c10d} --strikes=3`,
    '--strikes=3: 3 is no number per time (accepted: N/TIME, like 3/10m, or off)',
  ],
  [`${c10d} --strikes=0/1m`, '--strikes=0/1m: 0/1m is no number per time'],
  [`${c10d} --spares=-1`, "--spares=-1: '-1' is out of range"],
  [`${c10d} --group-size=3`, '--group-size=3: 3 does not divide the most nodes, 4'],
  [`${c10d} --group-size=2`, "this node's group isn't known (accepted: --node-group=NAME beside"],
  [`${c10d} --node-group=`, '--node-group=: it has no name'],
  ['--nnodes=2 --node-group=a', '--node-group=a: static ranks are given'],
  [`${c10d} --nnodes-unit=0`, '--nnodes-unit=0: '],
  [`${c10d} --lease=499ms`, '--lease=499ms: too short for a machine that is busy'],
  [`${c10d} --agent-stall=4s`, '--agent-stall=4s: too short for an agent that is busy'],
  [`${c10d} --lease=soon`, '--lease=soon: not a time'],
  [`${c10d} --grow-debounce=-1`, '--grow-debounce=-1: not a time'],
  [`${c10d} --local-addr=a --interface=eth1`, '--interface=eth1: --local-addr says the address'],
  [`${c10d} --interface=`, '--interface=: it is empty'],
  [
    `${c10d} --port-range=9-8`,
    "--port-range=9-8: '9-8' is no range of ports (accepted: FIRST-LAST",
  ],
  // Where a round follows another one, both have a store for a moment.
  [`${c10d} --port-range=9-9`, "--port-range=9-9: '9-9' is no range of ports"],
  [`${c10d} --port-range=0-8`, "--port-range=0-8: '0-8' is no range of ports"],
  [`${c10d} --port-range=1-65536`, '--port-range=1-65536: '],
  [`${c10d} --port-range=29400`, '--port-range=29400: '],
];

for (const [line, text] of complaints) {
  t.test(`${line} is refused in one line`, t => {
    const parsed = parse(line);

    if (parsed.do !== 'error') throw new Error('it is accepted');
    t.equal(parsed.exitCode, 1);
    t.ok(parsed.text.includes(text) && !parsed.text.includes('\n'), parsed.text);
    t.end();
  });
}

t.test("etcd's user and password go together, and a password is never shown", t => {
  for (const [env, text] of [
    [{ REGROUP_ETCD_USER: 'agent' }, 'REGROUP_ETCD_USER: it goes with REGROUP_ETCD_PASSWORD, '],
    [{ REGROUP_ETCD_PASSWORD: 's3cret' }, 'REGROUP_ETCD_PASSWORD: it goes with REGROUP_ETCD_USER'],
  ] as const) {
    const parsed = parse(etcd, env);

    if (parsed.do !== 'error') throw new Error('it is accepted');
    t.ok(parsed.text.includes(text) && !parsed.text.includes('s3cret'), parsed.text);
  }
  t.end();
});

t.test("the job's token is of a file or of the environment, and not the workers'", t => {
  const token = 's3cret'.repeat(4);
  const path = t.testdir({ token: ` ${token}\n` });
  chmodSync(`${path}/token`, 0o600);
  for (const [line, env] of [
    [`${c10d} --rdzv-conf=token-file=${path}/token`, {}],
    [`${c10d} --rdzv-conf=token_file=${path}/token`, { REGROUP_TOKEN: 'x'.repeat(16) }],
    [c10d, { REGROUP_TOKEN: `${token}\n` }],
    ['--nnodes=2', { REGROUP_TOKEN: token }],
  ] as const) {
    t.match(nodesOf(line, env), { token });
    const parsed = parse(line, env);
    if (parsed.do !== 'run') throw new Error(parsed.do);
    t.notOk('REGROUP_TOKEN' in (parsed.options.env ?? {}));
    const { token: _, ...others } = parsed.options;
    t.notMatch(JSON.stringify([others, parsed.settings]), 's3cret');
  }
  t.strictSame(nodesOf('--nnodes=1', { REGROUP_TOKEN: 'short' }), {});
  t.notOk('token' in nodesOf(c10d, { REGROUP_TOKEN: '' }));
  t.notOk('token' in nodesOf(etcd, { REGROUP_TOKEN: token }));
  t.match(noticesOf(etcd, { REGROUP_TOKEN: token }), [/^a token has no effect with etcd/]);
  t.end();
});

t.test('what is no token is refused, and never shown', t => {
  const parsed = [
    parse(c10d, { REGROUP_TOKEN: 's3cret' }),
    parse(`${c10d} --rdzv-conf=token-file=/nowhere/token`, { REGROUP_TOKEN: 's3cret'.repeat(4) }),
    parse(`${c10d} --rdzv-conf=token=${'s3cret'.repeat(4)}`),
  ];

  const texts = parsed.map(each => (each.do === 'error' && each.exitCode === 1 ? each.text : ''));
  for (const [i, text] of [
    'REGROUP_TOKEN: a token of 6 characters may be guessed (accepted: 16 to 4096 characters',
    "--rdzv-conf token-file: /nowhere/token can't be read (ENOENT)",
    '--rdzv-conf token: all users of a machine may read its command lines (accepted: token-file=PA',
  ].entries()) {
    const shown = texts[i] ?? '';
    t.ok(shown.includes(text), shown);
    t.notMatch(shown, 's3cret');
  }
  t.end();
});
