// Claim: over shared memory a present key is read in at most 0.02 × TCP's time from C, and who waits is
// woken in at most half of TCP's.
//
//   node bench/shm.bench.mjs [ROUNDS]     after npm run build:native
//
// One server for all. Transports take turns; see shm_clients.cc and workers/shm_client.py.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { python, repo, summarise, workersDir } from './lib.mjs';

const rounds = process.argv[2] ?? '20';

/** With the objects that the addon is linked from, so that what's measured is what ships. */
function compileWithCore() {
  const objects = path.join(repo, 'build/Release/obj.target/regroup/native/core');
  const parts = ['base', 'shm', 'store'].flatMap(part =>
    fs
      .readdirSync(path.join(objects, part))
      .filter(name => name.endsWith('.o'))
      .map(name => path.join(objects, part, name)),
  );
  const to = path.join(repo, 'build/bench/shm_clients');
  fs.mkdirSync(path.dirname(to), { recursive: true });
  const flags = ['-std=gnu++20', '-O2', '-fno-exceptions', '-fno-rtti'];
  const source = path.join(repo, 'bench/shm_clients.cc');
  const include = ['-I', path.join(repo, 'native')];
  execFileSync('g++', [...flags, ...include, '-o', to, source, ...parts], { stdio: 'inherit' });
  return to;
}

const program = compileWithCore();
const server = spawn(program, ['serve'], { stdio: ['pipe', 'pipe', 'inherit'] });
const [ready] = await new Promise(resolve =>
  createInterface({ input: server.stdout }).once('line', line => resolve([line])),
);
const [, store, port, echo] = ready.split(' ');
const env = {
  ...process.env,
  PYTHONPATH: path.join(repo, 'python'),
  PYTHONDONTWRITEBYTECODE: '1',
  REGROUP_SHM: path.join(repo, 'build/Release/regroup_shm.so'),
};
const clients = {
  C: [program, store, port, echo, rounds],
  Python: [python, path.join(workersDir, 'shm_client.py'), store, port, rounds],
};

/** `{ get: { regroup: figures, tcp: …, unix: … }, … }`, in microseconds. */
function measure([command, ...args]) {
  const operations = {};
  const printed = execFileSync(command, args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  for (const line of printed.trim().split('\n')) {
    const [operation, transport, ...ns] = line.split(' ');
    operations[operation] ??= {};
    operations[operation][transport] = summarise(ns.map(text => Number(text) / 1000));
  }
  return operations;
}

const cell = figures => (figures ? `${figures.p50} (${figures.p99})` : '–');
console.log('µs, p50 (p99) | shared memory | TCP | Unix echo | × TCP');
try {
  for (const [language, command] of Object.entries(clients)) {
    for (const [operation, { regroup, tcp, unix }] of Object.entries(measure(command))) {
      const ratio = (regroup.p50 / tcp.p50).toFixed(3);
      console.log(
        `${language} ${operation} | ${cell(regroup)} | ${cell(tcp)} | ${cell(unix)} | ${ratio}`,
      );
    }
  }
} finally {
  server.stdin.end();
}
