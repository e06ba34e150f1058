// TCPStore servers and their load, for the store's benchmarks.
//
// The launchers stand for the servers: `torchrun` and `torchrun-1.13` for the TCPStore of that PyTorch,
// `regroup` for regroup-store, `floor` for a bare epoll server that answers by count.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { compile, environment, python, regroupRoot, systemPython, workersDir } from './machine.mjs';

/** Past this, a measurement is an error. */
const patienceSeconds = 60;

/** What ends with the benchmark, whatever becomes of it. */
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

const host = path.join(workersDir, 'store_host.py');
/** argv of a server. Of `sizes` only the floor has to know, of the launcher only the other checkout's. */
const commands = {
  torchrun: () => [python, host],
  'torchrun-1.13': () => [systemPython, host],
  regroup: () => [process.execPath, path.join(regroupRoot, 'dist', 'bin', 'regroup-store.cjs')],
  before: (_, launcher) => [process.execPath, launcher.store],
  floor: sizes => [compile('store_echo.c'), '10:4', ...sizes],
};
const dialects = { torchrun: 'D', 'torchrun-1.13': 'A', regroup: 'D', before: 'D', floor: 'echo' };

/** A process with lines at stdout, whose stdin is ours to close. */
function start(argv, env) {
  const child = spawn(argv[0], argv.slice(1), {
    env: environment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  running.add(child);
  let text = '';
  let errors = '';
  let reader;
  const look = () => {
    const end = text.indexOf('\n');
    if (!reader || (end < 0 && child.exitCode === null && child.signalCode === null)) return;
    const { resolve, reject } = reader;
    reader = undefined;
    if (end < 0) return reject(new Error(`${argv.join(' ')}\nended: ${errors.slice(-1_000)}`));
    resolve(text.slice(0, end));
    text = text.slice(end + 1);
  };
  child.stdout.on('data', chunk => {
    text += chunk;
    look();
  });
  child.stderr.on('data', chunk => {
    errors += chunk;
  });
  child.stdin.on('error', () => {}); // it has ended first, which the next line() tells
  const closed = new Promise(resolve => {
    child.on('close', () => {
      running.delete(child);
      look();
      resolve();
    });
  });
  return {
    child,
    line: () =>
      new Promise((resolve, reject) => {
        reader = { resolve, reject };
        look();
      }),
    async close() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await closed;
      clearTimeout(timer);
    },
  };
}

async function listening(argv, env) {
  const server = start(argv, env);
  const [ready, address] = (await server.line()).split(' ');
  if (ready !== 'ready') throw new Error(`${argv.join(' ')}: ${ready}`);
  const { pid } = server.child;
  return {
    ...server,
    port: Number(address.slice(address.lastIndexOf(':') + 1)),
    /** What its threads have had of the CPUs. */
    cpuNs() {
      const threads = fs.readdirSync(`/proc/${pid}/task`);
      const used = threads.map(tid =>
        fs.readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8'),
      );
      return used.reduce((sum, stat) => sum + Number(stat.split(' ')[0]), 0);
    },
    residentBytes() {
      const rollup = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      return Number(/^Rss:\s+(\d+) kB/m.exec(rollup)[1]) * 1024;
    },
  };
}

/**
 * The server that a launcher stands for.
 *
 * @param sizes of the floor: `request:reply` in bytes, of the messages that it will get after the hello
 * @param namesPeers let PyTorch's server ask the machine's DNS for each peer's name, as it's made to
 */
export async function startServer(launcher, { sizes = ['1:1'], namesPeers = false } = {}) {
  const numeric = launcher.name === 'torchrun' && !namesPeers;
  const env = numeric ? { LD_PRELOAD: compile('numeric_names.c', { shared: true }) } : {};
  const server = await listening(commands[launcher.name](sizes, launcher), env);
  return { ...server, dialect: dialects[launcher.name] };
}

/** Another program that says where it listens. */
export async function startProgram(argv) {
  return { ...(await listening(argv, {})), dialect: 'D' };
}

/** One of each launcher's; closed when `body` ends. */
export async function withServers(launchers, options, body) {
  const servers = new Map();
  try {
    for (const launcher of launchers)
      servers.set(launcher.name, await startServer(launcher, options));
    return await body(servers);
  } finally {
    for (const server of servers.values()) await server.close();
  }
}

const argvOf = (server, mode, options) => [
  compile('store_load'),
  mode,
  '127.0.0.1',
  String(server.port),
  ...Object.entries({ dialect: server.dialect, limit: patienceSeconds, ...options }).map(
    ([name, value]) => `${name}=${value}`,
  ),
];

/** One measurement: `{ seconds, requests, p50Us, p99Us, maxUs, cpuUs }`; the last is per request. */
export async function load(server, mode, options) {
  const client = start(argvOf(server, mode, options), {});
  try {
    await client.line(); // `began`
    const before = server.cpuNs();
    const result = JSON.parse(await client.line());
    return { ...result, cpuUs: (server.cpuNs() - before) / 1_000 / result.requests };
  } finally {
    await client.close();
  }
}

/** Clients that stay until `close()`. */
export async function hold(server, clients) {
  const idle = start(argvOf(server, 'idle', { clients }), {});
  await idle.line(); // `began`
  await idle.line(); // and there
  return idle;
}

/** A number that no earlier measurement had: what's used once on a server is named after it. */
let rounds = 0;
export const nextRound = () => ++rounds;
