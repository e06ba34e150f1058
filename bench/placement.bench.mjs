// Claim: a machine of 256 CPUs, 8 nodes and 8 GPUs is read and 8 workers are placed on it in 5 ms; a binding costs a
// worker's start 50 µs.
//
// The machine is a folder of files as sysfs has them. Each sample is a Node of its own that places once, as a launch
// does: nothing is compiled or cached by then. The floor makes the same reads and looks at none of them.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { collect, interleave, ms, row, startJob, terminate, tiny } from './lib.mjs';
import { repo } from './machine.mjs';

export const name = 'placement';

const ranks = 8;
const nproc = 128;

const machine = {
  source: 'made up: two sockets of four nodes, four GPUs at each',
  sockets: 2,
  nodesPerSocket: 4,
  coresPerNode: 16,
  threadsPerCore: 2,
  coresPerCache: 8,
  gpuNodes: [0, 1, 2, 3, 4, 5, 6, 7],
};

/** Prints how many milliseconds one placement took, or the same reads alone. */
const once = `
  import fs from 'node:fs';
  import { place } from './lib/placement/place.ts';
  const [root, way, mode] = process.argv.slice(2);
  const attempt = (call, or) => { try { return call(); } catch { return or; } };
  const source = {
    read: path => attempt(() => fs.readFileSync(root + path, 'utf8')),
    list: path => attempt(() => fs.readdirSync(root + path), []),
    resolve: path => attempt(() => fs.realpathSync(root + path).slice(root.length), path),
  };
  const calls = [];
  if (way === 'floor') {
    const noting = Object.fromEntries(
      Object.entries(source).map(([name, call]) => [name, path => (calls.push([name, path]), call(path))]),
    );
    place({ mode }, ${ranks}, {}, noting);
  }
  const start = process.hrtime.bigint();
  if (way === 'floor') for (const [name, path] of calls) source[name](path);
  else place({ mode }, ${ranks}, {}, source);
  console.log(Number(process.hrtime.bigint() - start) / 1e6);
`;

async function bundle(contents, outfile) {
  await build({
    stdin: { contents, resolveDir: repo, loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'warning',
  });
  return outfile;
}

/** The described machine, as files below a folder. */
async function writeMachine(folder) {
  const files = await bundle(
    "export { filesOf } from './test/placement/machine.ts';",
    path.join(folder, 'files.cjs'),
  );
  const { filesOf } = (await import(files)).default;
  const root = path.join(folder, 'root');
  for (const [file, text] of Object.entries(filesOf(machine))) {
    fs.mkdirSync(path.dirname(root + file), { recursive: true });
    fs.writeFileSync(root + file, text);
  }
  return root;
}

export async function run({ launchers, scale }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-placement-'));
  const samples = collect();
  try {
    const root = await writeMachine(folder);
    const script = await bundle(once, path.join(folder, 'once.cjs'));
    const ways = ['regroup', 'floor'].flatMap(way =>
      ['node', 'exclusive', 'core-complex'].map(mode => ({ name: way, way, mode })),
    );
    await interleave(ways, scale(20), ({ way, mode }, i) => {
      const { stdout, stderr } = spawnSync(process.execPath, [script, root, way, mode], {
        encoding: 'utf8',
      });
      if (stderr) throw new Error(stderr);
      if (i >= 0) samples.add('placed', way, Number(stdout));
    });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }

  // The whole machine to each: what's measured is the call, and not what it does to the scheduler.
  const cpus = /^Cpus_allowed_list:\s*(\S+)$/m.exec(
    fs.readFileSync('/proc/self/status', 'utf8'),
  )[1];
  const bind = Array.from({ length: nproc }, (_, rank) => `${rank}:${cpus}`).join(',');
  const regroup = launchers.find(launcher => launcher.name === 'regroup');
  if (regroup !== undefined) {
    const variants = [
      { name: 'bound', flags: [`--bind=${bind}`] },
      { name: 'unbound', flags: [] },
    ];
    await interleave(variants, scale(15), async ({ name: variant, flags }, i) => {
      const job = startJob(regroup, { nproc, worker: tiny(), flags });
      const first = await job.until('start', { count: nproc + 1 });
      const stamps = first.filter(s => s.rank !== '-').map(s => s.ns);
      await terminate(regroup, job);
      // From the first worker to the last: reading the machine and Node's start are no part of it.
      const each = (Math.max(...stamps) - Math.min(...stamps)) / (nproc - 1);
      if (i >= 0) samples.add(variant, 'regroup', ms(each) * 1000);
    });
  }
  const { regroup: bound = [] } = samples.of('bound');
  const { regroup: unbound = [] } = samples.of('unbound');
  return [
    row({
      what: '256 CPUs, 8 nodes, 8 GPUs: machine read and 8 workers placed',
      samples: samples.of('placed'),
      target: { text: '5 ms', limit: () => 5 },
    }),
    row({
      what: 'a bound worker’s start, more than one unbound',
      unit: 'µs',
      samples: { regroup: bound.map((each, i) => each - (unbound[i] ?? Number.NaN)) },
      target: { text: '50 µs', limit: () => 50 },
    }),
    row({ what: 'worker to worker, bound', unit: 'µs', samples: { regroup: bound }, detail: true }),
    row({
      what: 'worker to worker, unbound',
      unit: 'µs',
      samples: { regroup: unbound },
      detail: true,
    }),
  ];
}
