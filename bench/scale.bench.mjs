// Claim: a round of 1,000 agents is formed within 2 s, a failure told to all of them within 100 ms, and an agent that has nothing
// to say sends one small message in each of the five parts of its lease; all of it grows no faster than what must be told.
//
// The agents' rendezvous, coordination clients and lease keepers, as in lib/ and the addon, over real sockets to a server of its own;
// many of them in each of a few processes, which share this machine with the server. No workers.
import { execFileSync, fork } from 'node:child_process';
import path from 'node:path';
import { collect, ms, now, row, sleep } from './lib.mjs';
import { environment, workersDir } from './machine.mjs';
import { startServer } from './store.mjs';

export const name = 'scale';

const leaseMs = 5_000;
/** Of an idle agent. */
const leases = 2;
const agentsPerProcess = 250;
const patienceMs = 240_000;

export async function run({ launchers, quick, scale, agents: wanted }) {
  const samples = collect();
  const sizes = wanted ?? (quick ? [10, 100] : [10, 100, 1_000]);
  if (launchers.every(l => l.name !== 'regroup')) return [];
  for (const size of sizes) {
    for (let i = 0; i < scale(size < 1_000 ? 3 : 1); i++) {
      const figures = await measure(size);
      for (const [what, value] of Object.entries(figures))
        samples.add(`${what} ${size}`, 'regroup', value);
    }
  }
  return sizes.flatMap(size => rowsOf(size, what => samples.of(`${what} ${size}`)));
}

function rowsOf(size, of) {
  const agents = `${size.toLocaleString('en')} agents`;
  const isMost = size === 1_000;
  const line = (what, key, more = {}) =>
    row({ what: `${agents}: ${what}`, samples: of(key), detail: false, ...more });
  return [
    line('told to join → all in the first round', 'first', {
      target: isMost ? { text: '2,000 ms', limit: () => 2_000 } : undefined,
    }),
    line('a failure → told to all others', 'told', {
      target: isMost ? { text: '100 ms', limit: () => 100 } : undefined,
    }),
    line('its report → all in the next round', 'again', {
      target: isMost ? { text: '2,000 ms', limit: () => 2_000 } : undefined,
    }),
    ...['first', 'again'].flatMap(round => {
      const at = round === 'first' ? 'first round' : 'next round';
      return [
        line(`${at}, requests of an agent`, `${round} requests`, { unit: '' }),
        line(`${at}, changes told to an agent`, `${round} changes`, { unit: '' }),
        line(`${at}, sent to an agent`, `${round} sent`, { unit: 'KB' }),
        line(`${at}, server's CPU time per agent`, `${round} server`, { unit: 'ms' }),
        line(`${at}, CPU time of an agent`, `${round} agent`, { unit: 'ms' }),
      ];
    }),
    line('idle, messages of an agent in a lease', 'idle messages', { unit: '' }),
    line('idle, sent by an agent in a lease', 'idle bytes', { unit: 'bytes' }),
    line("idle, server's CPU time per agent and lease", 'idle server', { unit: 'µs' }),
    line('connections of an agent', 'connections', { unit: '' }),
    line("server's memory per agent", 'memory', { unit: 'KB' }),
  ];
}

/** One job of so many agents, at a server of its own. */
async function measure(size) {
  const server = await startServer({ name: 'regroup' });
  const processes = [];
  try {
    const emptyBytes = server.residentBytes();
    for (let first = 0; first < size; first += agentsPerProcess) {
      const count = Math.min(agentsPerProcess, size - first);
      processes.push(startAgents([`127.0.0.1`, server.port, first, count, size, leaseMs]));
    }
    await all(processes, 'ready');
    const look = () => lookAt(server, processes);
    const perAgent = (after, before, what) => (after[what] - before[what]) / size;
    const figures = {};
    const costs = (round, before, after) => {
      figures[`${round} requests`] = perAgent(after, before, 'requests');
      figures[`${round} changes`] = perAgent(after, before, 'changes');
      figures[`${round} sent`] = perAgent(after, before, 'sentBytes') / 1_000;
      figures[`${round} server`] = perAgent(after, before, 'serverNs') / 1e6;
      figures[`${round} agent`] = perAgent(after, before, 'agentUs') / 1_000;
    };

    const atStart = await look();
    const askedNs = now();
    for (const each of processes) each.ask({ ask: 'join' });
    figures.first = ms(last(await all(processes, 'formed', 0)) - askedNs);
    const formed = await look();
    costs('first', atStart, formed);

    // What they have written of the round is told to all by then.
    await quiet(look);
    const idle = await look();
    await sleep(leaseMs * leases);
    const later = await look();
    figures['idle messages'] = perAgent(later, idle, 'messages') / leases;
    figures['idle bytes'] = perAgent(later, idle, 'receivedBytes') / leases;
    figures['idle server'] = perAgent(later, idle, 'serverNs') / 1_000 / leases;
    figures.connections = later.connections / size;
    figures.memory = (server.residentBytes() - emptyBytes) / size / 1_000;

    processes[0].ask({ ask: 'fail', round: 0 });
    const { ns: failedNs } = await processes[0].until('fails', 0);
    figures.told = ms(last(await all(processes, 'broken', 0)) - failedNs);
    figures.again = ms(last(await all(processes, 'formed', 1)) - failedNs) - reportAfterMs;
    costs('again', later, await look());
    return figures;
  } finally {
    for (const each of processes) each.ask({ ask: 'end' });
    await Promise.all(processes.map(each => each.ended));
    await server.close();
  }
}

/** Between an agent's announcement and its report, in workers/agents.mjs. */
const reportAfterMs = 1_000;

const last = messages => Math.max(...messages.map(({ ns }) => ns));
const all = (processes, what, round) => Promise.all(processes.map(each => each.until(what, round)));

/** Waits until nobody is told anything any more. */
async function quiet(look) {
  for (let before = await look(); ; ) {
    await sleep(500);
    const after = await look();
    if (after.changes === before.changes) return;
    before = after;
  }
}

/** What the server and the agents have cost so far, all together. */
async function lookAt(server, processes) {
  for (const each of processes) each.ask({ ask: 'counts' });
  const told = (await all(processes, 'counts')).map(({ counts }) => counts);
  const sum = what => told.reduce((all, counts) => all + counts[what], 0);
  return {
    ...sockets(server.port),
    serverNs: server.cpuNs(),
    agentUs: sum('cpuUs'),
    requests: sum('requests'),
    changes: sum('changes'),
  };
}

/** The server's ends of all connections, as the kernel counts them: segments with data are messages, where they're small. */
function sockets(port) {
  const command = ['-tinOH', 'state', 'established', `( sport = :${port} )`];
  const text = execFileSync('ss', command, { encoding: 'utf8', maxBuffer: 1 << 28 });
  const lines = text.split('\n').filter(Boolean);
  const sum = field => {
    const pattern = new RegExp(`\\b${field}:(\\d+)`);
    return lines.reduce((all, line) => all + Number(pattern.exec(line)?.[1] ?? 0), 0);
  };
  return {
    connections: lines.length,
    messages: sum('data_segs_in'),
    receivedBytes: sum('bytes_received'),
    sentBytes: sum('bytes_sent'),
  };
}

function startAgents(args) {
  const child = fork(path.join(workersDir, 'agents.mjs'), args.map(String), {
    env: environment({}),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  process.on('exit', () => child.kill('SIGKILL'));
  const messages = [];
  const waiters = new Set();
  const look = () => {
    for (const waiter of waiters) {
      const at = messages.findIndex(m => m.what === waiter.what && m.round === waiter.round);
      if (at < 0) continue;
      waiters.delete(waiter);
      waiter.resolve(messages.splice(at, 1)[0]);
    }
  };
  child.on('message', message => {
    messages.push(message);
    look();
  });
  const ended = new Promise(resolve => child.on('exit', resolve));
  ended.then(() => {
    for (const { what, reject } of waiters) reject(new Error(`agents ended before ${what}`));
  });
  return {
    ended,
    ask: message => child.connected && child.send(message),
    until: (what, round) =>
      new Promise((resolve, reject) => {
        const late = () => reject(new Error(`no ${what} of round ${round} in ${patienceMs} ms`));
        const timer = setTimeout(late, patienceMs);
        const done = message => {
          clearTimeout(timer);
          resolve(message);
        };
        waiters.add({ what, round, resolve: done, reject });
        look();
      }),
  };
}
