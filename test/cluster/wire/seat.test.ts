import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { commandPath } from '../../harness.js';
import { type Torch, torchOrSkip } from '../../interop/torch.js';
import {
  type Agent,
  bareWorker,
  type Cluster,
  type ClusterNode,
  codes,
  gathered,
  reach,
  startCluster,
  succeed,
} from '../harness.js';

// Agents of the real torchrun whose rendezvous is ours: `--rdzv-backend=regroup`.

t.setTimeout(900_000);

interface Meeting {
  readonly nnodes: string;
  readonly endpoint?: string;
  /** Beside the join time-out. */
  readonly conf?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function torchrun(
  cluster: Cluster,
  node: ClusterNode,
  { python }: Torch,
  { nnodes, endpoint = cluster.endpoint, conf = 'join_timeout=600', env = {} }: Meeting,
): Agent {
  const args = [
    ...[`--nnodes=${nnodes}`, '--rdzv-backend=regroup', `--rdzv-endpoint=${endpoint}`],
    ...['--rdzv-id=job', `--rdzv-conf=${conf}`, '--max-restarts=5', `--local-addr=${node.address}`],
    ...bareWorker,
  ];
  // As where the package is installed: its entry point is found beside it.
  const found = { PYTHONPATH: resolve('python'), REGROUP_COMMAND: commandPath() };
  return node.run([python, '-m', 'torch.distributed.run', ...args], { env: { ...found, ...env } });
}

function newest(t: Test): Torch | undefined {
  return torchOrSkip(t, 'newest');
}

/** A job of one or two nodes, of which ours is the first and torchrun's the second. */
async function mixed(t: Test, torch: Torch) {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const nnodes = '1:2';
  const options = ['--max-restarts=5', '--rdzv-conf=last_call_timeout=600'];
  const ours = cluster.join(one, { nnodes, options });
  const stock = torchrun(cluster, two, torch, { nnodes });
  return { cluster, one, two, nnodes, ours, stock };
}

t.test('two agents of torchrun meet by ours, over a failure, and end together', async t => {
  const torch = newest(t);
  if (torch === undefined) return;
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map(node => torchrun(cluster, node, torch, { nnodes: '2' }));

  const first = await gathered(agents, 2);
  t.same(first.map(({ rank }) => rank).sort(), [0, 1]);
  t.same(new Set(first.map(({ masterPort }) => masterPort)).size, 1);
  await reach([one, two], agents);

  two.tell('exit 3');
  const second = await gathered(agents, 2);
  t.same(
    second.map(({ rank }) => rank),
    first.map(({ rank }) => rank),
    'ranks stay',
  );
  t.not(second[0]?.masterPort, first[0]?.masterPort, 'R-034, R-048 a store for each round');
  t.equal(second[0]?.restartCount, 0, 'R-040 the failure of another costs an agent no restart');
  t.equal(second[1]?.restartCount, 1);
  await reach([one, two], agents);

  succeed([one]);
  succeed([two]);
  t.strictSame(await codes(agents), [0, 0], 'R-037');
});

t.test(
  'an agent of torchrun and one of ours are one job, whichever fails, leaves or comes',
  async t => {
    const torch = newest(t);
    if (torch === undefined) return;
    const { cluster, one, two, nnodes, ours, stock } = await mixed(t, torch);

    const first = await gathered([ours, stock], 2);
    t.equal(first[0]?.masterPort, first[1]?.masterPort);
    await reach([one, two], [ours, stock]);

    one.tell('exit 3');
    await gathered([ours, stock], 2);

    two.tell('exit 4');
    await ours.line(/exited with code 4/);
    await gathered([ours, stock], 2);

    stock.kill('SIGKILL');
    // It waits for the workers' end, too, which torchrun sees to for none.
    await stock.end();
    await gathered([ours], 1);

    const again = torchrun(cluster, two, torch, { nnodes });
    await gathered([ours, again], 2);

    again.kill('SIGTERM');
    t.not((await again.end()).code, 0, 'R-041');
    await gathered([ours], 1);

    succeed([one]);
    t.strictSame(await codes([ours]), [0]);
  },
);

t.test(
  'R-047 a node of torchrun that is cut off has stopped its workers before others go on',
  async t => {
    const torch = newest(t);
    if (torch === undefined) return;
    const { one, two, ours, stock } = await mixed(t, torch);
    await gathered([ours, stock], 2);

    two.cut();
    await gathered([ours], 1);
    two.heal();
    await gathered([ours, stock], 2);

    two.tell('deaf');
    await stock.line(/^deaf$/);
    two.cut();
    // torchrun would have waited for thirty seconds; it's told as lost, and its workers are killed.
    t.equal((await stock.end()).code, 1);
    await gathered([ours], 1);

    two.heal();
    succeed([one]);
    t.strictSame(await codes([ours]), [0]);
  },
);

t.test(
  'an agent of torchrun without a server, or with another token, ends and says why',
  async t => {
    const torch = newest(t);
    if (torch === undefined) return;
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;

    const alone = torchrun(cluster, two, torch, {
      nnodes: '2',
      conf: 'is_host=0,join_timeout=2',
    });
    const without = await alone.end();
    t.equal(without.code, 1);
    t.match(without.stderr, /RendezvousConnectionError: .*no node serves \S+, tried for 2 s/);

    const ours = cluster.join(one, {
      nnodes: '1:2',
      options: ['--rdzv-conf=last_call_timeout=1'],
      env: { REGROUP_TOKEN: 'the-token-of-the-job' },
    });
    await ours.started();
    const stranger = torchrun(cluster, two, torch, {
      nnodes: '1:2',
      env: { REGROUP_TOKEN: 'the-token-of-another-job' },
    });
    const refused = await stranger.end();
    t.equal(refused.code, 1);
    t.match(refused.stderr, /RendezvousConnectionError: .*token/);
    succeed([one]);
    t.strictSame(await codes([ours]), [0]);
  },
);
