// Claim: over shared memory a present key is read in at most 0.02 × TCP's time from C, and who waits is
// woken in at most half of TCP's.
//
// One server of ours for all. Transports take turns; see shm_clients.cc and workers/shm_client.*. The floor
// is an echo of the same sizes over a Unix socket.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { row } from './lib.mjs';
import { compileWithCore, python, repo, workersDir } from './machine.mjs';

export const name = 'shm';

const targets = {
  'C get': {
    text: '0.2 µs and 0.02 × TCP',
    limit: (_, { tcp }) => Math.min(0.2, 0.02 * tcp.p50),
  },
  'C wake': { text: '0.5 × TCP', limit: (_, { tcp }) => 0.5 * tcp.p50 },
};
const titles = {
  get: 'get of a hot key',
  set: 'set',
  add: 'add',
  wake: 'set → who waits for it goes on',
};

export async function run({ launchers, scale }) {
  if (!launchers.some(l => l.name === 'regroup')) return [];
  const rounds = String(scale(20));
  const program = compileWithCore('shm_clients.cc', ['base', 'shm', 'store']);
  const server = await serve(program);
  const rows = [];
  try {
    const { store, port, echo } = server;
    const env = {
      ...process.env,
      PYTHONPATH: path.join(repo, 'python'),
      PYTHONDONTWRITEBYTECODE: '1',
      REGROUP_SHM: path.join(repo, 'build/Release/regroup_shm.so'),
    };
    const clients = {
      C: [program, store, port, echo, rounds],
      Python: [python, path.join(workersDir, 'shm_client.py'), store, port, rounds],
      Node: [process.execPath, path.join(workersDir, 'shm_client.mjs'), store, port, rounds],
    };
    for (const [language, command] of Object.entries(clients)) {
      for (const [operation, { unix, ...samples }] of Object.entries(measure(command, env))) {
        const median = samples.tcp.toSorted((x, y) => x - y)[samples.tcp.length >> 1];
        rows.push(
          row({
            what: `shared memory, from ${language}: ${titles[operation] ?? operation}; over TCP ${median.toFixed(1)}`,
            unit: 'µs',
            samples: unix === undefined ? samples : { ...samples, floor: unix },
            target: targets[`${language} ${operation}`],
          }),
        );
      }
    }
  } finally {
    await server.close();
  }
  return rows;
}

async function serve(program) {
  const child = spawn(program, ['serve'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const [, store, port, echo] = line.split(' ');
  const close = async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  };
  return { store, port, echo, close };
}

/** `{ get: { regroup: [µs…], tcp: […], unix: […] }, … }` */
function measure([command, ...args], env) {
  const operations = {};
  const printed = execFileSync(command, args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  for (const line of printed.trim().split('\n')) {
    const [operation, transport, ...ns] = line.split(' ');
    operations[operation] ??= {};
    operations[operation][transport] = ns.map(text => Number(text) / 1000);
  }
  return operations;
}
