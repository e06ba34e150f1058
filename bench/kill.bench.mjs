// Claim: 50 ms after the agent was killed, nothing of 8 workers with 16 loaders each is left.
//
// Loaders lead sessions of their own and have lost their parents. All hold one end of a FIFO, which ends
// when the last of them has. What's left after the deadline is counted, and ended by its environment. The
// floor is one loop that kills all of them, by pids that it knows.
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { collect, interleave, row } from './lib.mjs';
import { environment } from './machine.mjs';
import { endAll, processesWith } from './marked.mjs';

export const name = 'kill';

const nproc = 8;
const loaders = 16;
const deadlineMs = 2_000;
const script = `exec 9>"$BENCH_ALIVE"
for i in $(seq ${loaders}); do setsid -f sleep 60 </dev/null >/dev/null 2>&1; done
echo ready >&9; exec sleep 60 >/dev/null 2>&1`;

async function killOnce(launcher) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-'));
  const fifo = path.join(dir, 'alive');
  execFileSync('mkfifo', [fifo]);
  const fd = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  let keptOpen = fs.openSync(fifo, fs.constants.O_WRONLY); // or it would end before it begins
  const cookie = randomUUID();
  const argv = launcher.command({
    nproc,
    maxRestarts: 0,
    flags: [],
    worker: { program: ['bash', '-c', script] },
  });
  const agent = spawn(argv[0], argv.slice(1), {
    env: environment({ BENCH_ALIVE: fifo, BENCH_COOKIE: cookie }),
    stdio: 'ignore',
    cwd: dir,
    detached: true,
  });
  const reader = new net.Socket({ fd, readable: true, writable: false });
  try {
    let said = '';
    for await (const [chunk] of on(reader)) {
      said += chunk;
      if (said.split('\n').length > nproc) break;
    }
    fs.closeSync(keptOpen);
    keptOpen = undefined;
    const ended = once(reader, 'end').then(() => process.hrtime.bigint());
    const everybody = processesWith(`BENCH_COOKIE=${cookie}`);
    const killed = launcher.name === 'floor' ? everybody : [agent.pid];
    const began = process.hrtime.bigint();
    for (const pid of killed) process.kill(Number(pid), 'SIGKILL');
    const end = await Promise.race([ended, new Promise(r => setTimeout(r, deadlineMs))]);
    const left = processesWith(`BENCH_COOKIE=${cookie}`).length;
    return { ms: end === undefined ? undefined : Number(end - began) / 1e6, left };
  } finally {
    endAll(`BENCH_COOKIE=${cookie}`);
    if (keptOpen !== undefined) fs.closeSync(keptOpen);
    reader.destroy();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

/** The reader's chunks; it isn't ended by leaving the loop. */
async function* on(reader) {
  for (;;) yield await once(reader, 'data');
}

export async function run({ launchers, scale }) {
  const samples = collect();
  const measured = launchers.filter(l => !l.old);
  await interleave(
    measured,
    scale(20),
    async launcher => {
      const { ms, left } = await killOnce(launcher);
      if (ms !== undefined) samples.add('gone', launcher.name, ms);
      samples.add('left', launcher.name, left);
    },
    { warmUp: 0, runsOf: l => scale(l.name === 'torchrun' ? 3 : 20) },
  );
  return [
    row({
      what: `agent SIGKILLed → the last of ${nproc} workers and ${nproc * loaders} loaders gone`,
      samples: samples.of('gone'),
      stat: 'max',
      target: { text: '50 ms, max', limit: () => 50 },
    }),
    row({
      what: `the same: left after ${deadlineMs / 1000} s`,
      unit: 'processes',
      samples: samples.of('left'),
      stat: 'max',
      target: { text: 'none', limit: () => 0 },
    }),
  ];
}
