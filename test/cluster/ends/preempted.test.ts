import t from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type Agent, allStarted, codes, startCluster } from '../harness.js';

// A notice to one node of several, and signals that end nothing.

/** Saves when it's told, and ends as an interrupted program does. */
const saves = `
import os, signal, sys
def save(*_):
    os.write(1, b"saved\\n")
    sys.exit(1)
signal.signal(signal.SIGUSR1, save)
os.write(1, f"up {os.environ['GROUP_WORLD_SIZE']}\\n".encode())
while True: signal.pause()
`;

t.test('MN-25 a notice to one node has the workers of all save, and the others go on', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const meeting = {
    nnodes: '1:2',
    options: ['--preempt-signal=SIGUSR1'],
    worker: ['--no-python', 'python3', '-c', saves],
  };
  const agents = [one, two].map(node => cluster.join(node, meeting));
  const [stays, leaves] = agents as [Agent, Agent];
  for (const agent of agents) t.equal(await agent.line(/^up/), 'up 2');

  leaves.kill('SIGUSR1');

  for (const agent of agents) await agent.line(/^saved$/);
  t.equal(await stays.line(/^up/), 'up 1');
  t.match(await leaves.end(), { code: exitCodes.preempted });
  stays.kill('SIGUSR1');
  await stays.line(/^saved$/);
  t.strictSame(await codes([stays]), [exitCodes.preempted]);
});

t.test(
  'MN-70 a signal that ends nothing reaches each worker once, of every node that gets it',
  async t => {
    const cluster = await startCluster(t, 2);
    const nodes = cluster.nodes.slice(0, 2);
    const options = ['--forward-signals=SIGUSR1', '--nproc-per-node=2'];
    const agents = nodes.map(node => cluster.join(node, { nnodes: '2', options }));
    await allStarted([...agents, ...agents], 0);
    for (const node of nodes) for (const local of [0, 1]) node.tell('catch', local);
    for (const agent of [...agents, ...agents]) await agent.line(/^catch$/);

    // As scancel and srun do: to the task of each node.
    for (const agent of agents) agent.kill('SIGUSR1');

    for (const agent of [...agents, ...agents]) await agent.line(/^caught$/);
    for (const node of nodes) for (const local of [0, 1]) node.tell('exit 0', local);
    t.strictSame(await codes(agents), [0, 0]);
    for (const agent of agents) {
      t.equal(agent.output().match(/^caught$/gm)?.length, 2);
      t.equal(agent.output().match(/^started /gm)?.length, 2, 'no other round');
    }
  },
);

t.test('MN-73 who does not react to the signal that ends the job is named in time', async t => {
  const cluster = await startCluster(t, 2);
  const nodes = cluster.nodes.slice(0, 2);
  const options = ['--grace=signal=2s'];
  const agents = nodes.map(node => cluster.join(node, { nnodes: '2', options }));
  const [ends, hangs] = agents as [Agent, Agent];
  const [, deaf] = await allStarted(agents, 0);
  cluster.nodes[1].tell('deaf');
  await hangs.line(/^deaf$/);

  for (const agent of agents) agent.kill('SIGTERM');

  const who = `worker 1 \\(local 0, pid ${deaf?.pid}(, in \\w+)?\\)`;
  await hangs.line(
    new RegExp(`^regroup: ${who} has not ended \\S+ \\S+ after SIGTERM; SIGKILL follows in `),
  );
  t.strictSame(await codes(agents), [1, 1]);
  t.match(hangs.output(), `Unable to shutdown process ${deaf?.pid} via 15, forcefully exiting`);
  for (const { output } of agents) t.notMatch(output(), /failed/i);
  t.notMatch(ends.output(), /has not ended/);
});
