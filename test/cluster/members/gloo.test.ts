import t from 'tap';
import { torchOrSkip } from '../../interop/torch.js';
import {
  type Agent,
  allStarted,
  type ClusterNode,
  codes,
  gathered,
  glooWorker,
  startCluster,
} from '../harness.js';

// Collectives of worlds that grow and shrink.

async function step(agents: readonly Agent[]): Promise<void> {
  await Promise.all(agents.map(agent => agent.line(/^step 11$/)));
}

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
