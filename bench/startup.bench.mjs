// Where the time from the command to the first worker's first instruction goes.
//
// Each line is a command that does all of the line before and one thing more, so the difference of two
// is that thing's share.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  collect,
  interleave,
  ms,
  row,
  sleep,
  startJob,
  terminate,
  timeCommand,
  tiny,
} from './lib.mjs';
import { compile, regroupBin, regroupCommand, regroupRoot, repo } from './machine.mjs';

export const name = 'startup';

export async function run({ launchers, scale }) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-startup-'));
  const file = (base, text) => {
    fs.writeFileSync(path.join(dir, base), text);
    return path.join(dir, base);
  };
  const node = process.execPath;
  const addon = path.join(regroupRoot, 'build', 'Release', 'regroup.node');
  const regroup = launchers.some(l => l.name === 'regroup');
  const flags = ['--standalone', '--nproc-per-node=1', '--no-python', tiny().program[0]];

  const front = regroupCommand();
  const script = path.join(regroupRoot, 'dist', 'bin', 'regroup');
  const ends = compile('workers/ends.c');
  const commands = {
    'a static program that only ends': [ends],
    '+ the front program, which becomes it': front.length === 1 && {
      argv: front,
      env: { REGROUP_NODE: ends },
    },
    '+ the shell script, which starts that': fs.existsSync(script) && {
      argv: [script],
      env: { REGROUP_NODE: ends },
    },
    'node, an empty file': [node, file('empty.cjs', '')],
    '+ the addon': fs.existsSync(addon) && [
      node,
      file('addon.cjs', `process.dlopen({ exports: {} }, ${JSON.stringify(addon)});`),
    ],
    '+ argparse, its module alone': [
      node,
      file(
        'argparse.cjs',
        `require(${JSON.stringify(path.join(repo, 'node_modules', 'argparse'))});`,
      ),
    ],
    '+ the bundle, compiled and not run': regroup && [
      node,
      file(
        'compile.cjs',
        `new (require('vm').Script)(require('fs').readFileSync(${JSON.stringify(regroupBin)}, 'utf8').replace(/^#!.*/, ''));`,
      ),
    ],
    'regroup --version': regroup && [...front, '--version'],
    'regroup --help': regroup && [...front, '--help'],
    'regroup --dry-run: options parsed, plan printed': regroup && [...front, '--dry-run', ...flags],
  };

  const samples = collect();
  const variants = Object.entries(commands).flatMap(([what, command]) => {
    if (!command) return [];
    return [{ what, ...(Array.isArray(command) ? { argv: command } : command) }];
  });
  await interleave(variants, scale(20), async ({ what, argv, env }, i) => {
    const took = await timeCommand(argv, { env });
    if (i >= 0) samples.add(what, 'regroup', took);
  });

  const real = async (launcher, i) => {
    const job = startJob(launcher, { nproc: 1, worker: tiny() });
    const first = await job.until('start', { count: 2 });
    // So soon after its start, the launcher may not have read yet that its workers run: it would
    // rightly die of SIGTERM, as torchrun does before workers exist.
    await sleep(50);
    await terminate(launcher, job);
    if (i >= 0)
      samples.add('real', launcher.name, ms(Math.max(...first.map(s => s.ns)) - job.startedNs));
  };
  const runsOf = launcher => scale(launcher.old ? 2 : launcher.name === 'torchrun' ? 5 : 20);
  await interleave(launchers, 0, real, { runsOf });

  const rows = variants.map(({ what }) =>
    row({ what: `start-up: ${what}`, samples: samples.of(what) }),
  );
  rows.push(
    row({
      what: "start-up: a launch, to one tiny worker's first instruction",
      samples: samples.of('real'),
    }),
  );
  fs.rmSync(dir, { recursive: true, force: true });
  return rows;
}
