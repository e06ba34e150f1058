import t from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type Agent, codes, startCluster } from '../harness.js';

// A notice to one node of several.

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
