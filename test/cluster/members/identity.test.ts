import t from 'tap';
import {
  type Agent,
  allStarted,
  codes,
  gathered,
  noLinks,
  startCluster,
  succeed,
} from '../harness.js';

// Who is who, and what the trouble of one agent is to the others.

t.test(
  'R-054 two agents of one node, each of which is process 1, are two nodes',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 1);
    const [one] = cluster.nodes;
    const under = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
    // It says no process number, which would be one of its own.
    const worker = ['--no-python', 'sh', '-c', 'echo rank $RANK of $WORLD_SIZE, agent $PPID'];
    const agents = [1, 2].map(() => cluster.join(one, { nnodes: '2', under, worker }));

    const said = await Promise.all(agents.map(agent => agent.line(/^rank/)));

    t.strictSame(said.map(text => text.replace(/, agent \d+/, '')).sort(), [
      'rank 0 of 2',
      'rank 1 of 2',
    ]);
    t.strictSame(await codes(agents), [0, 0]);
  },
);

t.test('MN-30 an agent with trouble of its own leaves, and says why; others go on', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const options = ['--rdzv-conf=last_call_timeout=1'];
  const meeting = { nnodes: '2:3', endpoint, options };
  const [one, two, three] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, meeting));
  await allStarted(agents, 0);

  // Found before it comes.
  const scriptless = cluster.join(three, { ...meeting, worker: ['/nowhere/train.py'] });
  const early = await scriptless.end();
  t.not(early.code, 0);
  t.match(early.stderr, /\/nowhere\/train.py/);
  t.strictSame(agents.map(startedBy), [1, 1]);

  // Found when its worker is to start, in the round of all.
  const program = ['--no-python', '/nowhere/train'];
  const late = await cluster.join(three, { ...meeting, worker: program }).end();
  t.not(late.code, 0);
  t.match(late.stderr, /\/nowhere\/train/);
  await gathered(agents, 2);

  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

for (const [signal, ids] of [
  ['SIGTERM', 'L-108'],
  ['SIGINT', 'L-117'],
] as const) {
  t.test(`${ids} ${signal} ends an agent that waits for others`, async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const host = cluster.join(one, { nnodes: '3' });
    const other = cluster.join(two, { nnodes: '3' });
    for (const agent of [host, other]) await agent.line(/waiting for nodes: 2 of 3 are here/);

    other.kill(signal);
    t.match(await other.end(), { code: 1, stdout: '' });
    await host.line(/waiting for nodes: 1 of 3 is here/);
    host.kill(signal);

    t.match(await host.end(), { code: 1, stdout: '' });
  });
}

/** Workers that an agent has started. */
function startedBy(agent: Agent): number {
  return agent.output().match(/^started /gm)?.length ?? 0;
}
