// Claim: what happens on one node reaches the others in milliseconds, and a round of two nodes follows the
// last one as fast as that of one.
//
// Two agents on this machine, each with its workers, meet at a loopback address: the network's share isn't in it.
import net from 'node:net';
import {
  bare,
  collect,
  deathWays,
  interleave,
  ms,
  randomBelow,
  randomPhase,
  row,
  startNode,
} from './lib.mjs';

export const name = 'nodes';

/** Of each node. */
const nproc = 2;
const deaths = 6;
/** Sharing its store, torchrun loses some restarts for good (restarts.bench.mjs): here it doesn't share. */
const env = { TORCH_DISABLE_SHARE_RDZV_TCP_STORE: '1' };

export async function run({ launchers, scale }) {
  const samples = collect();
  const able = launchers.filter(l => ['torchrun', 'regroup'].includes(l.name));
  const runsOf = () => scale(3);
  const envOf = launcher => (launcher.name === 'torchrun' ? env : {});

  await interleave(able, 0, launcher => crashes(launcher, envOf(launcher), samples), {
    warmUp: 0,
    runsOf,
  });
  await interleave(able, 0, launcher => grows(launcher, envOf(launcher), samples), {
    warmUp: 0,
    runsOf,
  });
  const regroup = able.filter(l => l.name === 'regroup');
  await interleave(regroup, 0, launcher => loses(launcher, samples), { warmUp: 0, runsOf });

  const vsTorchrun = { text: '0.1 × torchrun', limit: (_, { torchrun }) => 0.1 * torchrun?.p50 };
  return [
    row({
      what: "2 nodes: last agent's command → last worker's first line",
      samples: samples.of('first'),
    }),
    row({
      what: "2 nodes: worker's death → the other node's workers told",
      samples: samples.of('told'),
      target: { text: '5 ms', limit: () => 5 },
    }),
    row({
      what: "2 nodes: worker's death → last new first line on both",
      samples: samples.of('again'),
      target: vsTorchrun,
    }),
    row({
      what: "1 node of 2: late agent's command → last first line of both",
      samples: samples.of('grown'),
    }),
    row({
      what: "2 nodes of at least 1: agent SIGKILLed → last new first line of the other's workers",
      samples: samples.of('lost'),
      target: { text: '300 ms', limit: () => 300 },
      note: 'torchrun: never',
    }),
  ];
}

/** Two agents of one job; the second one starts once the first has had time to be ready. */
async function startBoth(launcher, { nnodes, maxRestarts, env }) {
  const port = await freePort();
  const job = { nproc, nnodes, maxRestarts, worker: bare, env, port };
  const first = startNode(launcher, job);
  await randomPhase();
  return { nodes: [first, startNode(launcher, job)], job };
}

async function crashes(launcher, env, samples) {
  const { nodes } = await startBoth(launcher, { nnodes: '2', maxRestarts: deaths, env });
  try {
    const lines = await bothAt(nodes, 0);
    samples.add('first', launcher.name, ms(lastOf(lines) - nodes[1].startedNs));
    for (let round = 0; round < deaths; round++) {
      await randomPhase();
      const at = randomBelow(2);
      const victim = workersOf(nodes[at], round)[randomBelow(nproc)];
      const exits = nodes[at].find('exit').length;
      const way = deathWays[round % deathWays.length];
      const diedNs =
        way === 'exit' ? await leave(nodes[at], victim, exits) : nodes[at].kill(victim.pid, way);
      const again = await bothAt(nodes, round + 1);
      for (const told of nodes[1 - at].find('term'))
        if (told.ns > diedNs) samples.add('told', launcher.name, ms(told.ns - diedNs));
      samples.add('again', launcher.name, ms(lastOf(again) - diedNs));
    }
  } finally {
    for (const node of nodes) node.abandon();
  }
}

/** Has a worker exit with code 3; the moment in which it did. */
async function leave(node, victim, exitsBefore) {
  node.kill(victim.pid, 'SIGUSR1');
  const exits = await node.until('exit', { count: exitsBefore + 1 });
  return exits.at(-1).ns;
}

async function grows(launcher, env, samples) {
  const port = await freePort();
  const job = { nproc, nnodes: '1:2', maxRestarts: 0, worker: bare, env, port };
  const first = startNode(launcher, job);
  let second;
  try {
    await workersAt(first, 0);
    second = startNode(launcher, job);
    const lines = [...(await workersAt(first, 1)), ...(await workersAt(second, 0))];
    samples.add('grown', launcher.name, ms(lastOf(lines) - second.startedNs));
  } finally {
    first.abandon();
    second?.abandon();
  }
}

async function loses(launcher, samples) {
  const { nodes } = await startBoth(launcher, { nnodes: '1:2', maxRestarts: 0, env: {} });
  try {
    const [host, other] = nodes;
    await workersAt(other, 0);
    // The first one may have had a round of its own before.
    const isTogether = s => s.round === workersOf(other, 0)[0].round;
    while (host.find('start').filter(isTogether).length < nproc) await randomPhase();
    await randomPhase();
    const rounds = host.find('start').filter(s => s.rank !== '-').length / nproc;
    const killedNs = other.kill(other.pid, 'SIGKILL');
    samples.add('lost', launcher.name, ms(lastOf(await workersAt(host, rounds)) - killedNs));
  } finally {
    for (const node of nodes) node.abandon();
  }
}

/** The first lines of a node's `at`-th round; launchers don't agree on numbers. */
function workersOf(node, at) {
  const starts = node.find('start').filter(s => s.rank !== '-');
  return starts.slice(at * nproc, (at + 1) * nproc);
}

async function workersAt(node, at) {
  await node.until('start', { count: (at + 1) * nproc + 1 }); // the command's own, too
  return workersOf(node, at);
}

async function bothAt([one, other], at) {
  return [...(await workersAt(one, at)), ...(await workersAt(other, at))];
}

const lastOf = lines => Math.max(...lines.map(s => s.ns));

/** As good as free: nobody else here asks for one in this moment. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
