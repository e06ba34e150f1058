import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import t from 'tap';
import { type Agent, allStarted, codes, startCluster, succeed } from '../harness.js';

// Clocks of nodes that are an hour off, before and behind the others'.

const hourMs = 3_600_000;
/** In front of what a bare worker says: the time of day that its node has. */
const worker = [
  '--no-python',
  'bash',
  '-c',
  'echo "clock $(date +%s)"; . test/fixtures/cluster_worker.sh',
];

/** How far a node's time of day is from the test's, in hours. */
async function hoursOff(agent: Agent): Promise<number> {
  const seconds = (await agent.line(/^clock \d+$/)).split(' ')[1];
  return Math.round((Number(seconds) * 1000 - Date.now()) / hourMs);
}

t.test('MN-11 R-046 clocks that are an hour off have no effect', async t => {
  const library = join(t.testdir({}), 'skews_clock.so');
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, resolve('test/fixtures/skews_clock.c')]);
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const skews = [0, 1, -1];
  const agents = cluster.nodes.map((node, i) =>
    cluster.join(node, {
      ...{ nnodes: '2:3', endpoint, worker, options: ['--max-restarts=2'] },
      env: { LD_PRELOAD: library, SKEW_S: `${((skews[i] ?? 0) * hourMs) / 1000}` },
    }),
  );
  const [one, two, three] = cluster.nodes;
  const [first, ahead, behind] = agents as [Agent, Agent, Agent];
  await allStarted(agents, 0);
  t.strictSame(await Promise.all(agents.map(hoursOff)), skews);

  three.tell('exit 3');
  t.match(await allStarted(agents, 1), [{ world: 3 }, { world: 3 }, { world: 3 }]);
  two.tell('exit 4');
  t.match(await allStarted(agents, 2), [{ world: 3 }, { world: 3 }, { world: 3 }]);
  ahead.kill('SIGKILL');
  t.match(await allStarted([first, behind], 3), [{ world: 2 }, { world: 2 }]);

  succeed([one, three]);
  t.strictSame(await codes([first, behind]), [0, 0]);
});
