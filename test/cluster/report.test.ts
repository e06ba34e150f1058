import t from 'tap';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// What people read on each node of a job, wherever it failed.

t.test('MN-21 MN-09 R-040 each node names the worker of another that has failed', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const meeting = { nnodes: '2', options: ['--nproc-per-node=2', '--max-restarts=1'] };
  const agents = [one, two].map(node => cluster.join(node, meeting));
  const [host, other] = agents as [(typeof agents)[0], (typeof agents)[0]];
  await allStarted([host, host, other, other], 0);

  two.tell('exit 3', 1);

  await host.line(/^regroup: round 0 is over: workers of node2 \(\S+\) have failed$/);
  await host.line(
    /^regroup: the root cause is worker 3 \(local 1\) on node2 \(\S+\): it exited with code 3$/,
  );
  await other.line(/^regroup: worker 3 \(local 1\) exited with code 3 after .*; restarting/);
  await allStarted([host, host, other, other], 1);
  two.tell('kill', 1);
  t.strictSame(await codes(agents), [1, 1]);
  for (const agent of agents) {
    const report = agent.output();
    t.match(
      report,
      /Root Cause[^[]*\[\d\]:\n.*\n.*\n {2}rank +: 3 \(local_rank: 1\)\n.*exitcode +: -9/,
    );
    const where = agent === other ? '' : ' on node2 \\(\\S+\\)';
    const words = `the job failed: worker 3 \\(local 1\\)${where} was killed by SIGKILL .*exit code 1`;
    t.match(report, new RegExp(words), agent.node.name);
    // Each tells its own part of the restart: nobody has died here where it was for another node's failure.
    const [first, cause] = agent === other ? ['noticed \\d+ · ', ''] : ['', ' elsewhere'];
    const phases = 'stopped \\d+ · rendezvous \\d+ · started \\d+';
    t.match(report, new RegExp(`^regroup: restarted in \\d+ ms: ${first}${phases}$`, 'm'));
    t.match(report, new RegExp(`^regroup: 1 restart \\(1 × failure${cause}\\) took`, 'm'));
  }
});

t.test('MN-21 the last lines of a worker are on the consoles of all nodes', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const script =
    'echo "$CLUSTER_NODE is out of luck" >&2; exec 2>&-; . test/fixtures/cluster_worker.sh';
  const worker = ['--no-python', 'bash', '-c', script];
  const agents = [one, two].map(node =>
    cluster.join(node, { nnodes: '2', options: ['--redirects=2'], worker }),
  );
  await allStarted(agents, 0);

  two.tell('exit 3');

  t.strictSame(await codes(agents), [1, 1]);
  for (const agent of agents) {
    t.match(agent.output(), /the end of worker 1's stderr:\n {2}\| node2 is out of luck\n/);
    t.notMatch(agent.output(), /\| node1/, 'the victim has no part in it');
  }
  t.match(agents[1]?.output(), /the job failed: .*; see \/.*\/0\/stderr.log; exit code 1/);
  t.notMatch(agents[0]?.output(), /the job failed: .*; see /, 'the file is on another node');
});

t.test('L-050 lines of workers bear their ranks among all nodes', async t => {
  const cluster = await startCluster(t, 2);
  const options = ['--tee=3', '--log-dir', t.testdir()];
  const agents = cluster.nodes.slice(0, 2).map(node => {
    return cluster.join(node, { nnodes: '2', options });
  });

  await Promise.all(
    agents.map((agent, rank) => agent.line(new RegExp(`^\\[default${rank}\\]:started`))),
  );

  succeed(cluster.nodes.slice(0, 2));
  t.strictSame(await codes(agents), [0, 0]);
});

t.test(
  'MN-21 R-040 each report names the victims on all nodes, and who did not end when told to',
  async t => {
    const cluster = await startCluster(t, 3);
    const [, two, three] = cluster.nodes;
    const options = ['--grace=failure=2s'];
    const agents = cluster.nodes.map(node => cluster.join(node, { nnodes: '3', options }));
    await allStarted(agents, 0);
    three.tell('deaf');
    await agents[2]?.line(/^deaf$/);

    two.tell('exit 3');

    t.strictSame(await codes(agents), [1, 1, 1]);
    for (const { node, output } of agents) {
      const report = output();
      t.match(
        report,
        /Root Cause[^[]*\[\d\]:\n.*\n.*\n {2}rank +: 1 .*\n.*exitcode +: 3/,
        node.name,
      );
      t.match(report, /host +: node1.*\n {2}rank +: 0 .*\n {2}exitcode +: -15/, node.name);
      t.match(report, /host +: node3.*\n {2}rank +: 2 .*\n {2}exitcode +: -9/, node.name);
      const where = node === three ? '' : ' on node3 \\(\\S+\\)';
      const words = `worker 2 \\(local 0\\)${where} did not end within 2.0 s of SIGTERM, and was killed`;
      t.match(report, new RegExp(words), node.name);
    }
    t.match(
      agents[0]?.output(),
      /waiting for node3 \(\S+\) to tell what became of the workers there/,
    );
  },
);
