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
  now,
  randomBelow,
  randomPhase,
  row,
  startNode,
} from './lib.mjs';
import { startServer } from './store.mjs';

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
  for (const measure of [forms, joins, loses, fallsSilent])
    await interleave(regroup, 0, launcher => measure(launcher, samples), { warmUp: 0, runsOf });

  const vsTorchrun = { text: '0.1 × torchrun', limit: (_, { torchrun }) => 0.1 * torchrun?.p50 };
  return [
    row({
      what: "2 nodes: last agent's command → last worker's first line",
      samples: samples.of('first'),
    }),
    row({
      what: '2 nodes: last agent has connected → both know the round and its store',
      samples: samples.of('formed'),
      target: { text: '20 ms', limit: () => 20 },
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
      what: "1 node of up to 3: late agent's command → last first line of both, without the debounce",
      samples: samples.of('joined'),
      target: { text: '300 ms', limit: () => 300 },
    }),
    row({
      what: "2 nodes of at least 1: agent SIGSTOPped → last new first line of the other's workers",
      samples: samples.of('silent'),
      target: { text: 'lease + 300 ms = 5300', limit: () => 5_300 },
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
async function startBoth(launcher, { nnodes, maxRestarts, env, port: given }) {
  const port = given ?? (await freePort());
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

/** Two agents whose words to a server outside of them pass through here. */
async function forms(launcher, samples) {
  const server = await startServer(launcher);
  const way = await passOn(server.port);
  const job = { nproc, nnodes: '2', maxRestarts: 0, worker: bare, env: {}, port: way.port };
  const nodes = [startNode(launcher, job)];
  try {
    await way.members(1);
    await randomPhase();
    nodes.push(startNode(launcher, job));
    samples.add('formed', launcher.name, await way.formed());
  } finally {
    for (const node of nodes) node.abandon();
    way.close();
    await server.close();
  }
}

/** Past this, a round that hasn't formed is an error. */
const formsWithinMs = 60_000;

/**
 * A port that leads to another one. Tells how long it took from the connection of the last of two agents until both had
 * been told of the first round's store, which is the last that a node needs to know.
 */
function passOn(to) {
  const agents = 2;
  const key = '/regroup/bench/stores/0';
  const member = '/regroup/bench/members/';
  const told = new Set();
  /** When each connection came on which an agent has made itself known: those that only keep a lease are none. */
  const cameNs = new Map();
  let look = () => {};
  const until = (holds, what) =>
    new Promise((resolve, reject) => {
      const late = () => reject(new Error(`${what} within ${formsWithinMs / 1000} s`));
      const limit = setTimeout(late, formsWithinMs);
      look = () => {
        if (!holds()) return;
        clearTimeout(limit);
        resolve(now());
      };
      look();
    });
  const server = net.createServer({ noDelay: true }, agent => {
    const connectedNs = now();
    const onward = net.connect({ host: '127.0.0.1', port: to, noDelay: true });
    for (const socket of [agent, onward]) socket.on('error', () => {});
    agent.on('close', () => onward.destroy());
    onward.on('close', () => agent.destroy());
    agent.pipe(onward);
    onward.pipe(agent);
    agent.on('data', bytes => {
      if (bytes.includes(member) && !cameNs.has(agent)) cameNs.set(agent, connectedNs);
      look();
    });
    // What's said of it isn't divided between two chunks: it's short, and comes alone.
    onward.on('data', bytes => {
      if (bytes.includes(key)) told.add(agent);
      look();
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () =>
      resolve({
        port: server.address().port,
        members: count => until(() => cameNs.size >= count, 'too few agents'),
        async formed() {
          const formedNs = await until(() => told.size >= agents, 'no round');
          const [, lastNs] = cameNs.values();
          return ms(formedNs - lastNs);
        },
        close: () => server.close(),
      }),
    );
  });
}

/** A second agent of three at most, behind whom another one might come: the first one waits for that. */
async function joins(launcher, samples) {
  const debounceMs = 300;
  const port = await freePort();
  const flags = [`--grow-debounce=${debounceMs}ms`];
  const job = { nproc, nnodes: '1:3', maxRestarts: 0, worker: bare, flags, env: {}, port };
  const nodes = [startNode(launcher, job)];
  try {
    await workersAt(nodes[0], 0);
    nodes.push(startNode(launcher, job));
    const lines = [...(await workersAt(nodes[0], 1)), ...(await workersAt(nodes[1], 0))];
    samples.add('joined', launcher.name, ms(lastOf(lines) - nodes[1].startedNs) - debounceMs);
  } finally {
    for (const node of nodes) node.abandon();
  }
}

const loses = (launcher, samples) => losesBy('SIGKILL', 'lost', launcher, samples);
/** As one that's cut off: its connections stay, and say nothing. */
const fallsSilent = (launcher, samples) => losesBy('SIGSTOP', 'silent', launcher, samples);

async function losesBy(signal, sample, launcher, samples) {
  // Not on the node that's lost: who is there then would be another question.
  const server = await startServer(launcher);
  const { port } = server;
  const { nodes } = await startBoth(launcher, { nnodes: '1:2', maxRestarts: 0, env: {}, port });
  try {
    const [host, other] = nodes;
    await workersAt(other, 0);
    // The first one may have had a round of its own before.
    const isTogether = s => s.round === workersOf(other, 0)[0].round;
    while (host.find('start').filter(isTogether).length < nproc) await randomPhase();
    await randomPhase();
    const rounds = host.find('start').filter(s => s.rank !== '-').length / nproc;
    const lostNs = other.kill(other.pid, signal);
    samples.add(sample, launcher.name, ms(lastOf(await workersAt(host, rounds)) - lostNs));
  } finally {
    for (const node of nodes) node.abandon();
    await server.close();
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
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
