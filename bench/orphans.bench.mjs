// Claim: an agent that's killed at any moment, from its first instruction on, leaves no process.
//
// 4 workers with 4 loaders each, in sessions of their own. The moment is drawn anew for each kill, from the
// agent's start until some time after all loaders run. What still lives two seconds later counts, and is
// ended by its environment. torchrun starts slowly and gets fewer kills.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { collect, interleave, row, sleep } from './lib.mjs';
import { environment } from './machine.mjs';
import { endAll, processesWith } from './marked.mjs';

export const name = 'orphans';

const nproc = 4;
const script = `for i in 1 2 3 4; do setsid -f sleep 60 </dev/null >/dev/null 2>&1; done
exec sleep 60 >/dev/null 2>&1`;
/** Past the start of all loaders, when nothing else runs. */
const latestMs = { torchrun: 2_500, regroup: 250 };
const deadlineMs = 2_000;

/** How many of one job's processes outlive it. */
async function killOnce(launcher) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-'));
  const mark = `BENCH_COOKIE=${randomUUID()}`;
  const argv = launcher.command({
    nproc,
    maxRestarts: 0,
    flags: [],
    worker: { program: ['bash', '-c', script] },
  });
  const agent = spawn(argv[0], argv.slice(1), {
    env: environment({ BENCH_COOKIE: mark.split('=')[1], TMPDIR: dir }),
    stdio: 'ignore',
    cwd: dir,
    detached: true,
  });
  try {
    const exited = once(agent, 'exit');
    await sleep(Math.random() * latestMs[launcher.name]);
    agent.kill('SIGKILL');
    const [code, signal] = await exited;
    if (signal !== 'SIGKILL')
      throw new Error(`${launcher.name} ended by itself: ${signal ?? code}`);
    const until = performance.now() + deadlineMs;
    let left = processesWith(mark).length;
    while (left > 0 && performance.now() < until) {
      await sleep(10);
      left = processesWith(mark).length;
    }
    return left;
  } finally {
    endAll(mark);
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

export async function run({ launchers, scale, kills = scale(100) }) {
  const samples = collect();
  const measured = launchers.filter(l => latestMs[l.name] !== undefined);
  const done = new Map(measured.map(l => [l.name, { kills: 0, jobs: 0, processes: 0 }]));
  await interleave(
    measured,
    kills,
    async launcher => {
      const left = await killOnce(launcher);
      const sum = done.get(launcher.name);
      sum.kills++;
      sum.jobs += left > 0 ? 1 : 0;
      sum.processes += left;
    },
    { warmUp: 0, runsOf: l => (l.name === 'torchrun' ? Math.min(kills, scale(20)) : kills) },
  );
  for (const [name, { kills, jobs, processes }] of done) {
    console.log(
      `${name}: ${kills} kills, ${jobs} jobs with something left, ${processes} processes`,
    );
    samples.add('jobs', name, (100 * jobs) / kills);
  }
  return [
    row({
      what: `agent SIGKILLed at a random moment: jobs with a process left after ${deadlineMs / 1000} s`,
      unit: '%',
      samples: samples.of('jobs'),
      stat: 'max',
      target: { text: 'none', limit: () => 0 },
      note: [...done].map(([name, { kills }]) => `${name} ${kills} kills`).join(', '),
    }),
  ];
}
