import { resolve } from 'node:path';
import t from 'tap';
import { isAlive } from '../../harness.js';
import {
  type Agent,
  allStarted,
  type Cluster,
  codes,
  gathered,
  reach,
  startCluster,
  succeed,
} from '../harness.js';

// A bad way between an agent and the server: slow, in pieces, broken, silent. Other agents have a good one.

/** A second way to the server, by a proxy. */
async function badWay(cluster: Cluster, endpoint: string) {
  const [host = '', port = ''] = endpoint.split(':');
  const proxyPort = Number(port) + 1;
  const script = resolve('test/fixtures/wire_proxy.py');
  const proxy = cluster.hub.run(['python3', script, host, `${proxyPort}`, port]);
  await proxy.line(/^ready$/);
  return {
    endpoint: `${host}:${proxyPort}`,
    proxy,
    /** Resolves once it does. */
    async order(text: string): Promise<void> {
      cluster.hub.tell(text);
      await proxy.line(new RegExp(`^does ${text}$`));
    },
  };
}

t.test('R-051 a way that is slow, in pieces and broken costs no failure', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const { endpoint } = await cluster.serve();
  const way = await badWay(cluster, endpoint);
  const options = ['--max-restarts=1', '--lease=20s'];
  await way.order('delay 10');
  await way.order('pieces 64');
  const agents = [
    cluster.join(one, { nnodes: '2', endpoint, options }),
    cluster.join(two, { nnodes: '2', endpoint: way.endpoint, options }),
  ];
  await allStarted(agents, 0);

  await way.order('delay 0');
  for (let times = 0; times < 5; times++) {
    await way.order('break');
    await way.proxy.line(/^passes/);
  }
  two.tell('exit 3');

  const after = await gathered(agents, 2);
  t.strictSame(
    after.map(({ rank }) => rank),
    [0, 1],
  );
  await reach([one, two], agents);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('R-047 a way that passes nothing any more is silence: the fence comes first', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const { endpoint } = await cluster.serve();
  const way = await badWay(cluster, endpoint);
  const meeting = { nnodes: '1:2', options: ['--lease=2s'] };
  const stays: Agent = cluster.join(one, { ...meeting, endpoint });
  const lost = cluster.join(two, { ...meeting, endpoint: way.endpoint });
  const before = await gathered([stays, lost], 2);

  await way.order('hold');

  t.match(await stays.started(), { world: 1, round: (before[0]?.round ?? 0) + 1 });
  t.notOk(isAlive(before[1]?.pid ?? 0));
  await way.order('flow');
  await gathered([stays, lost], 2);
  succeed([one, two]);
  t.strictSame(await codes([stays, lost]), [0, 0]);
});
