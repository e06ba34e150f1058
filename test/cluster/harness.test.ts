import { existsSync } from 'node:fs';
import t from 'tap';
import { isAlive } from '../harness.js';
import { type Agent, type Cluster, type ClusterNode, noLinks, startCluster } from './harness.js';

// What tests of several nodes rely on, without any agent.

const skip = noLinks ?? false;

/** Says each datagram that it gets. */
const listens = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 9000))
print("listens", flush=True)
while True:
    print("got", s.recv(100).decode().strip(), flush=True)
`;

async function listen(node: ClusterNode): Promise<Agent> {
  const listener = node.run(['python3', '-c', listens, node.address]);
  await listener.line(/^listens/);
  return listener;
}

/** Resolves once it's on its way. */
async function send(from: ClusterNode, to: ClusterNode, text: string): Promise<void> {
  await from.run(['bash', '-c', `echo ${text} >/dev/udp/${to.address}/9000`]).end();
}

async function pair(cluster: Cluster) {
  const [one, two] = cluster.nodes;
  return { one, two, atOne: await listen(one), atTwo: await listen(two) };
}

t.test('nodes have names of their own and reach each other', { skip }, async t => {
  const cluster = await startCluster(t, 2);
  const { one, two, atTwo } = await pair(cluster);

  await send(one, two, 'hello');

  t.equal(await atTwo.line(/^got/), 'got hello');
  t.equal((await one.run(['hostname']).end()).stdout, 'node1\n');
  t.equal((await two.run(['hostname']).end()).stdout, 'node2\n');
});

t.test(
  'a node that is cut off gets nothing and is heard by nobody, until it heals',
  { skip },
  async t => {
    const { one, two, atOne, atTwo } = await pair(await startCluster(t, 2));

    two.cut();
    await send(one, two, 'lost');
    await send(two, one, 'lost');
    await send(two, two, 'own');
    t.equal(await atTwo.line(/^got/), 'got own', 'it still reaches itself');
    two.heal();
    await send(one, two, 'there');
    await send(two, one, 'back');

    t.equal(await atTwo.line(/^got/), 'got there');
    t.equal(await atOne.line(/^got/), 'got back');
  },
);

for (const way of ['out', 'in'] as const) {
  t.test(`a node that is cut one way (${way}) loses only that`, { skip }, async t => {
    const { one, two, atOne, atTwo } = await pair(await startCluster(t, 2));
    const [from, to, lossy, other] =
      way === 'out' ? [two, one, atOne, atTwo] : [one, two, atTwo, atOne];

    two.cut(way);
    await send(to, from, 'good');
    await send(from, to, 'lost');
    t.equal(await other.line(/^got/), 'got good');
    two.heal();
    await send(from, to, 'healed');

    t.equal(await lossy.line(/^got/), 'got healed');
  });
}

t.test('a wait that fails shows what all nodes have printed', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const other = two.run(['sh', '-c', 'echo something else; exec sleep 1000']);
  await other.line(/something/);

  const silent = one.run(['sh', '-c', 'echo not that; exit 7']);

  await t.rejects(silent.line(/wanted/), {
    message: /node1: a line like \/wanted\/.*ended with 7[\s\S]*something else[\s\S]*not that/,
  });
});

/** Says `told` and ends once it gets SIGUSR1. */
const hears = `
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: (print("told", flush=True), sys.exit(0)))
print("up", flush=True)
signal.pause()
`;

t.test('a program that is paused goes on where it was', async t => {
  const cluster = await startCluster(t, 1);
  const [one] = cluster.nodes;
  const program = one.run(['python3', '-c', hears]);
  await program.line(/^up/);

  program.pause();
  program.kill('SIGUSR1');
  t.notMatch(program.output(), /told/);
  program.resume();

  t.equal(await program.line(/^told/), 'told');
  t.match(await program.end(), { code: 0 });
});

t.test('a worker says what it was told, and obeys', async t => {
  const cluster = await startCluster(t, 1);
  const [one] = cluster.nodes;
  const env = {
    ...{ RANK: '3', LOCAL_RANK: '1', GROUP_RANK: '1', WORLD_SIZE: '4', REGROUP_ROUND: '2' },
    ...{ TORCHELASTIC_RESTART_COUNT: '1', MASTER_ADDR: 'node0', MASTER_PORT: '29500' },
  };
  const worker = one.run(['bash', 'test/fixtures/cluster_worker.sh'], { env });

  t.match(await worker.started(2), {
    ...{ node: 'node1', rank: 3, localRank: 1, groupRank: 1, world: 4, round: 2 },
    ...{ restartCount: 1, masterAddr: 'node0', masterPort: 29500, pid: worker.pid },
  });
  one.tell('say this', 1);
  t.equal(await worker.line(/^said/), 'said this');
  one.tell('exit 5', 1);
  t.match(await worker.end(), { code: 5 });
});

t.test('nothing is left of nodes when their test is over', { skip }, async t => {
  const left: { pids: number[]; namespaces: string[] } = { pids: [], namespaces: [] };

  await t.test('two nodes and something that runs', async t => {
    const cluster = await startCluster(t, 2);
    for (const node of [...cluster.nodes, cluster.hub]) {
      const program = node.run(['sh', '-c', 'echo up; exec sleep 1000']);
      await program.line(/^up/);
      const net = node.under.find(word => word.startsWith('--net='))?.slice('--net='.length) ?? '';
      t.ok(existsSync(net));
      left.pids.push(program.pid);
      left.namespaces.push(net);
    }
  });

  t.notOk(left.pids.some(isAlive));
  t.notOk(left.namespaces.some(existsSync), 'nor the processes that held their namespaces');
});
