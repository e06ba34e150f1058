import t, { type Test } from 'tap';
import { isAlive } from '../harness.js';
import { releases, type Torch, torchOrSkip } from '../interop/torch.js';
import {
  type Agent,
  allStarted,
  type Cluster,
  codes,
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
