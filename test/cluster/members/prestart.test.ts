import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { torchOrSkip } from '../../interop/torch.js';
import { childrenOf } from '../../processes.js';
import { type Agent, allStarted, codes, glooWorker, startCluster } from '../harness.js';

// Nodes whose workers import while others are awaited, with real workers that reduce.

const options = ['--prestart', '--standby-modules=torch,torch.distributed'];

/** Interpreters that stand by for an agent's workers, once they are all parked. */
async function parkedAt(agent: Agent): Promise<number[]> {
  await agent.line(/ 1 standbys wait for the first round\b/);
  return childrenOf(agent.pid).filter(pid => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes('\0REGROUP_STANDBY=');
    } catch {
      return false; // the one that has shown that it waits is going
    }
  });
}

t.test('MN-01 a node that waited for another one has its imports done when it comes', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const cluster = await startCluster(t, 2);
  const env = { PYTHON_EXEC: torch.python, LOGLEVEL: 'INFO' };
  const meeting = { nnodes: '2', options, env, worker: glooWorker };
  const [one, two] = cluster.nodes;
  const waits = cluster.join(one, meeting);
  const parked = await parkedAt(waits);

  const comes = cluster.join(two, meeting);

  // The second one's rank isn't what its interpreters were started with, if they were made in time at all.
  const [first, second] = await allStarted([waits, comes], 0);
  t.match([first, second], [{ world: 2 }, { world: 2 }]);
  t.strictSame([first?.pid], parked);
  await waits.line(/ round 0 starts from standbys$/);
  two.tell('done');
  t.strictSame(await codes([waits, comes]), [0, 0]);
});

t.test('MN-02 a node that is stopped before anybody has joined leaves nothing of it', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const cluster = await startCluster(t, 1);
  const agent = cluster.join(cluster.nodes[0], {
    nnodes: '2',
    options: ['--prestart', '--standby-modules=json'],
    env: { PYTHON_EXEC: torch.python, LOGLEVEL: 'INFO' },
    worker: glooWorker,
  });
  const parked = await parkedAt(agent);
  t.equal(parked.length, 1);

  agent.kill('SIGTERM');

  await agent.end();
  for (const pid of parked) t.notOk(existsSync(`/proc/${pid}`));
});
