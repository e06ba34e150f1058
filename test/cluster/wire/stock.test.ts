import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type Torch, torchOrSkip } from '../../interop/torch.js';
import {
  type Agent,
  allStarted,
  bareWorker,
  type Cluster,
  type ClusterNode,
  codes,
  reach,
  startCluster,
  succeed,
} from '../harness.js';

// Our agents among those of the real torchrun, which has the store.

t.setTimeout(900_000);

/** As `torchrun`; 1.13 with the one function mended that Python 3.11 breaks: see torchruns.py. */
function torchrun({ python, release }: Torch): readonly string[] {
  if (release === 'newest') return [python, '-m', 'torch.distributed.run'];
  const mended = `import sys; sys.path.insert(0, ${JSON.stringify(resolve('test/interop'))})
import torchruns; torchruns.repair_1_13()
from torch.distributed.run import main; main()`;
  return [python, '-c', mended];
}

interface Job {
  readonly nnodes: string;
  /** `--rdzv-conf` of all. */
  readonly conf: string;
  readonly restarts?: number;
}

function startStock(
  node: ClusterNode,
  torch: Torch,
  { nnodes, conf, restarts = 5, endpoint }: Job & { readonly endpoint: string },
): Agent {
  return node.run(
    [
      ...torchrun(torch),
      ...[`--nnodes=${nnodes}`, '--rdzv_backend=c10d', `--rdzv_endpoint=${endpoint}`],
      ...['--rdzv_id=job', `--rdzv_conf=${conf}`, `--max_restarts=${restarts}`],
      '--monitor_interval=0.2',
      ...(torch.release === 'newest' ? [`--local-addr=${node.address}`] : []),
      ...bareWorker.map(each => (each === '--no-python' ? '--no_python' : each)),
    ],
    { env: { TORCH_DISABLE_SHARE_RDZV_TCP_STORE: undefined } },
  );
}

/** Starts torchrun on a node, where it has the store. */
async function startHost(
  cluster: Cluster,
  node: ClusterNode,
  torch: Torch,
  { nnodes, conf, restarts = 5 }: Job,
) {
  const endpoint = `${node.address}:29400`;
  const agent = startStock(node, torch, { nnodes, conf: `is_host=1,${conf}`, restarts, endpoint });
  // Importing it takes its time, and another one would have the store until then.
  const script = `until (: < /dev/tcp/${node.address}/29400) 2>/dev/null; do sleep 0.2; done; echo listens`;
  const look = cluster.hub.run(['bash', '-c', script]);
  await look.line(/^listens$/);
  await look.end();
  return { agent, endpoint };
}

function joinIt(
  cluster: Cluster,
  node: ClusterNode,
  endpoint: string,
  { nnodes, conf, restarts = 5 }: Job,
  options: readonly string[] = [],
): Agent {
  const own = [`--max-restarts=${restarts}`, `--rdzv-conf=is_host=0,${conf}`, ...options];
  return cluster.join(node, { nnodes, endpoint, options: own });
}

const pair: Job = { nnodes: '1:2', conf: 'last_call_timeout=600,join_timeout=600' };

/** A job of two nodes of ours, the first of which is its server, and one of torchrun's. @param restarts of torchrun's */
function comeToOurs({ endpoint, nodes, join }: Cluster, torch: Torch, { restarts = 5 } = {}) {
  const [one, two, three] = nodes;
  const { conf } = pair;
  const options = ['--max-restarts=5', `--rdzv-conf=among_torchrun=1,${conf}`];
  const ours = [one, two].map(node => join(node, { nnodes: '3', endpoint, options }));
  const job = { nnodes: '3', conf: `is_host=0,${conf}`, restarts, endpoint };
  return { ours, stock: startStock(three, torch, job) };
}

/** Resolves once the last worker of each is in a world of so many, whatever rounds it takes till then. */
async function inWorld(agents: readonly Agent[], world: number): Promise<void> {
  const last = await allStarted(agents);
  for (;;) {
    const late = last.findIndex(each => each.world !== world);
    const agent = agents[late];
    if (agent === undefined) return;
    last[late] = await agent.started();
  }
}

function newest(t: Test): Torch | undefined {
  return torchOrSkip(t, 'newest');
}

t.test(
  'R-016, R-033, R-035, R-037 ours is rank 1 beside torchrun, over failures of both',
  async t => {
    const torch = newest(t);
    if (torch === undefined) return;
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const { agent: stock, endpoint } = await startHost(cluster, one, torch, pair);
    const ours = joinIt(cluster, two, endpoint, pair);
    const agents = [stock, ours];
    await ours.line(/agents of torchrun \(PyTorch 2\.6 or later\) meet at/);

    const first = await allStarted(agents);

    t.match(first, [
      { rank: 0, groupRank: 0, world: 2, masterAddr: one.address },
      {
        rank: 1,
        groupRank: 1,
        world: 2,
        masterAddr: one.address,
        masterPort: first[0]?.masterPort,
      },
    ]);
    await reach([one, two], agents);

    two.tell('exit 3');
    const second = await allStarted(agents);
    t.match(
      second,
      [
        { rank: 0, world: 2 },
        { rank: 1, world: 2, round: 1 },
      ],
      'R-018, R-021',
    );

    one.tell('exit 3');
    const third = await allStarted(agents);
    t.match(
      third,
      [
        { rank: 0, world: 2 },
        { rank: 1, world: 2, round: 2 },
      ],
      'R-040',
    );

    ours.kill('SIGTERM');
    t.equal((await ours.end()).code, 1);
    const again = joinIt(cluster, two, endpoint, pair);
    const fourth = await allStarted([stock, again]);
    t.match(
      fourth,
      [
        { rank: 0, world: 2 },
        { rank: 1, world: 2 },
      ],
      'R-023, R-041, R-048',
    );
    t.equal(
      fourth[1]?.masterPort,
      first[0]?.masterPort,
      'R-035 rank 0 says it in its first round only',
    );

    succeed([one, two]);
    t.strictSame(await codes([stock, again]), [0, 0]);
  },
);

t.test('R-034 ours is rank 0, and serves the store of all rounds at one port; R-028', async t => {
  const torch = newest(t);
  if (torch === undefined) return;
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const { agent: stock, endpoint } = await startHost(cluster, two, torch, pair);
  const ours = joinIt(cluster, one, endpoint, pair);
  const first = await allStarted([ours, stock]);
  const [{ masterPort } = { masterPort: 0 }] = first;
  t.match(first, [
    { rank: 0, world: 2, masterAddr: one.address },
    { rank: 1, world: 2, masterAddr: one.address, masterPort },
  ]);
  await reach([one, two], [ours, stock]);

  one.tell('exit 3');

  const second = await allStarted([ours, stock]);
  t.match(second, [
    { rank: 0, world: 2, masterPort },
    { rank: 1, world: 2, masterPort },
  ]);
  await reach([one, two], [ours, stock]);

  stock.kill('SIGKILL');
  const { code, stderr } = await ours.end();
  t.equal(code, 1);
  t.match(stderr, /the store at \S+ is gone, which an agent of torchrun has had/);
  // torchrun's death takes no worker along.
  two.tell('exit 0');
  await stock.end();
});

t.test('R-013, R-044 ours tell each other of a failure, and notice a dead node', async t => {
  const torch = newest(t);
  if (torch === undefined) return;
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const job: Job = {
    nnodes: '2:3',
    conf: 'last_call_timeout=10,keep_alive_interval=2,keep_alive_max_attempt=3',
  };
  const { agent: stock, endpoint } = await startHost(cluster, one, torch, job);
  // The first round waits for all of them.
  const ours = [two, three].map(node => joinIt(cluster, node, endpoint, job));
  const [second, third] = ours as [Agent, Agent];
  await inWorld([stock, second, third], 3);

  three.tell('exit 3');

  await second.line(/exited with code 3/);
  await inWorld([stock, second, third], 3);

  third.kill('SIGKILL');

  await second.line(/lost/);
  await inWorld([stock, second], 2);
  succeed([one, two]);
  t.strictSame(await codes([stock, second]), [0, 0]);
  await third.end();
});

// A name that sorts behind, and an address that sorts before.
for (const [rank, localAddr] of [
  [1, '~'],
  [0, '0'],
] as const) {
  t.test(`R-032, R-036 ours is rank ${rank} beside torchrun 1.13`, async t => {
    const torch = torchOrSkip(t, '1.13');
    if (torch === undefined) return;
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const job = { ...pair, nnodes: '2' };
    const { agent: stock, endpoint } = await startHost(cluster, one, torch, job);
    const ours = joinIt(cluster, two, endpoint, job, [`--local-addr=${localAddr}`]);
    await ours.line(/agents of torchrun \(PyTorch 1\.9 to 1\.13\) meet at/);

    const first = await allStarted([stock, ours]);
    t.match(first, [
      { rank: 1 - rank, world: 2 },
      { rank, world: 2, masterPort: first[0]?.masterPort, masterAddr: first[0]?.masterAddr },
    ]);
    two.tell('exit 3');
    const second = await allStarted([stock, ours]);
    t.match(second, [
      { rank: 1 - rank, world: 2 },
      { rank, world: 2, round: 1 },
    ]);

    succeed([one, two]);
    t.strictSame(await codes([stock, ours]), [0, 0]);
  });
}

for (const release of ['newest', '1.13'] as const) {
  t.test(
    `agents of torchrun, ${release}, come to a server of ours, over failures of both`,
    async t => {
      const torch = torchOrSkip(t, release);
      if (torch === undefined) return;
      const cluster = await startCluster(t, 3);
      const [one, two, three] = cluster.nodes;
      const { ours, stock } = comeToOurs(cluster, torch);
      const agents = [...ours, stock] as const;

      const first = await allStarted(agents);
      t.same(first.map(({ rank }) => rank).sort(), [0, 1, 2], 'R-002, R-004, R-017');
      t.equal(new Set(first.map(({ masterPort }) => masterPort)).size, 1);
      await reachIfServed(release, cluster, agents);

      one.tell('exit 3');
      await inWorld(agents, 3);
      three.tell('exit 3');
      await inWorld(agents, 3);

      succeed([one, two, three]);
      t.strictSame(await codes(agents), [0, 0, 0]);
    },
  );
}

t.test("R-044 whoever has the store stays until all have read another one's end", async t => {
  const torch = newest(t);
  if (torch === undefined) return;
  const cluster = await startCluster(t, 3);
  const [, , three] = cluster.nodes;
  const { ours, stock } = comeToOurs(cluster, torch, { restarts: 0 });
  await allStarted([...ours, stock]);

  three.tell('exit 3');

  for (const each of ours) {
    const { code, stderr } = await each.end();
    t.equal(code, 1);
    t.match(stderr, /the job job is over/);
    t.notMatch(stderr, /is gone/);
  }
  await stock.end();
});

/** Up to 2.0 the worker of rank 0 has the store, and these have none. */
async function reachIfServed(
  release: Torch['release'],
  { nodes }: Cluster,
  agents: readonly Agent[],
): Promise<void> {
  if (release === 'newest') await reach(nodes, agents);
}
