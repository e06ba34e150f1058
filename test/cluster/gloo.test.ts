import t, { type Test } from 'tap';
import { isAlive } from '../harness.js';
import { releases, type Torch, torchOrSkip } from '../interop/torch.js';
import {
  type Agent,
  allStarted,
  type Cluster,
  type ClusterNode,
  codes,
  gathered,
  glooWorker,
  noLinks,
  startCluster,
} from './harness.js';

// Collectives of real workers on several nodes: after each fault the next world reduces, and has the right sum.

async function twoNodes(
  t: Test,
  nnodes: string,
  options: readonly string[],
  release: Torch['release'] = 'newest',
) {
  const torch = torchOrSkip(t, release);
  if (!torch) return undefined;
  const cluster: Cluster = await startCluster(t, 2);
  const env = { PYTHON_EXEC: torch.python };
  const [one, two] = cluster.nodes;
  const join = (node: typeof one): Agent =>
    cluster.join(node, { nnodes, options, env, worker: glooWorker });
  return { one, two, agents: [join(one), join(two)] as const };
}

async function step(agents: readonly Agent[]): Promise<void> {
  await Promise.all(agents.map(agent => agent.line(/^step 11$/)));
}

for (const release of releases) {
  t.test(
    `MN-18 MN-21 a worker that raises stops the collective everywhere, and the next one runs: PyTorch ${release}`,
    async t => {
      const job = await twoNodes(t, '2', ['--max-restarts=1'], release);
      if (job === undefined) return;
      const { two, agents } = job;
      await allStarted(agents, 0);
      await step(agents);

      two.tell('raise');

      t.match(await allStarted(agents, 1), [
        { world: 2, rank: 0, restartCount: 1 },
        { world: 2, rank: 1, restartCount: 1 },
      ]);
      await step(agents);
      two.tell('done');
      t.strictSame(await codes(agents), [0, 0]);
    },
  );
}

t.test(
  'MN-01 R-044 R-047 a collective with a node that is cut off ends, and goes on with it later',
  { skip: noLinks ?? false },
  async t => {
    const job = await twoNodes(t, '1:2', ['--lease=2s']);
    if (job === undefined) return;
    const { one, two, agents } = job;
    const [stays] = agents;
    const [, cutOff] = await allStarted(agents, 0);
    await step(agents);

    two.cut();

    t.match(await stays.started(1), { world: 1 });
    t.notOk(isAlive(cutOff?.pid ?? 0));
    await step([stays]);
    two.heal();
    t.match(await allStarted(agents, 2), [{ world: 2 }, { world: 2 }]);
    await step(agents);
    one.tell('done');
    t.strictSame(await codes(agents), [0, 0]);
  },
);

t.test(
  'MN-28 MN-29 MN-44 R-048 L-055 collectives of 2, 3 and 2 nodes, one of which was a spare',
  async t => {
    const torch = torchOrSkip(t, 'newest');
    if (!torch) return;
    const cluster = await startCluster(t, 4);
    const { endpoint } = await cluster.serve();
    const options = ['--rdzv-conf=last_call_timeout=1', '--max-restarts=0'];
    const env = { PYTHON_EXEC: torch.python };
    const meeting = { nnodes: '2:3', endpoint, options, env, worker: glooWorker };
    const join = (node: ClusterNode): Agent => cluster.join(node, meeting);
    const [one, two, three, ...others] = cluster.nodes as readonly ClusterNode[];
    if (one === undefined || two === undefined || three === undefined) throw new Error('four');
    const [first, second] = [join(one), join(two)];
    for (const { world } of await allStarted([first, second], 0)) t.equal(world, 2);
    await step([first, second]);

    const third = join(three);
    for (const { world } of await allStarted([first, second, third], 1)) t.equal(world, 3);
    await step([first, second, third]);
    const [spare] = others.map(join);
    if (spare === undefined) throw new Error('four');
    await spare.line(/the round is full: waiting for a place/);

    first.kill('SIGKILL');
    for (const { world } of await gathered([second, third, spare], 3)) t.equal(world, 3);
    await step([second, third, spare]);
    second.kill('SIGKILL');
    const last = await gathered([third, spare], 2);
    t.strictSame(last.map(({ rank }) => rank).sort(), [0, 1]);
    await step([third, spare]);
    three.tell('done');

    t.strictSame(await codes([third, spare]), [0, 0]);
  },
);
