// Claim: an idle agent isn't woken, by anything.
//
// Two idle jobs per launcher, at the same time: one under strace, which shows every system call of
// every thread, and one that is left alone, of which the kernel's own counters tell (strace would
// disturb them).
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { agentPids, readFile, row, sleep, startJob, terminate, tiny } from './lib.mjs';

export const name = 'idle';

const windowMs = 10_000;
/** Eight seconds after the start a timer of V8's looks whether there's garbage; nothing follows from it. */
const settleMs = 9_000;

/** System calls that the job's agent makes in the window, by name. */
async function systemCalls(job) {
  const pids = agentPids(job).flatMap(pid => ['-p', String(pid)]);
  const strace = spawn('strace', ['-f', '-qq', '-e', 'signal=none', ...pids], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  strace.stderr.setEncoding('utf8').on('data', chunk => {
    text += chunk;
  });
  const gone = new Promise(resolve => strace.on('close', resolve));
  // Attaching shows each thread's blocked call once; only what comes after that counts.
  await sleep(500);
  const before = text.length;
  await sleep(windowMs);
  const seen = text.slice(before);
  strace.kill('SIGINT');
  await gone;
  if (before === 0) throw new Error(`strace did not attach: ${text}`);
  // A call counts when it ends: `resumed`, or a whole line.
  return seen.split('\n').filter(line => line.includes(') = ') || line.includes(')  = ')).length;
}

/** Voluntary context switches and CPU time of the agent's threads so far. */
function counters(job) {
  let switches = 0;
  let cpuMs = 0;
  for (const pid of agentPids(job)) {
    for (const thread of fs.readdirSync(`/proc/${pid}/task`)) {
      const status = readFile(`/proc/${pid}/task/${thread}/status`);
      switches += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)[1]);
      cpuMs += Number(readFile(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]) / 1e6;
    }
  }
  return { switches, cpuMs };
}

export async function run({ launchers }) {
  const calls = {};
  const wakeUps = {};
  const cpu = {};
  const nproc = 2;

  const watch = async launcher => {
    const traced = startJob(launcher, { nproc, worker: tiny() });
    const alone = startJob(launcher, { nproc, worker: tiny() });
    await Promise.all([traced, alone].map(job => job.until('start', { count: nproc + 1 })));
    await sleep(settleMs);

    const before = counters(alone);
    calls[launcher.name] = [await systemCalls(traced)];
    const after = counters(alone);
    wakeUps[launcher.name] = [after.switches - before.switches];
    cpu[launcher.name] = [after.cpuMs - before.cpuMs];
    await terminate(launcher, traced);
    await terminate(launcher, alone);
  };
  await Promise.all(launchers.filter(l => !l.old).map(watch));

  const none = { text: 'none', limit: () => 0 };
  return [
    row({
      what: 'idle for 10 s: system calls (strace)',
      unit: 'calls',
      samples: calls,
      target: none,
    }),
    row({
      what: 'idle for 10 s: wake-ups (context switches)',
      unit: '',
      samples: wakeUps,
      target: none,
    }),
    row({ what: 'idle for 10 s: CPU time of the agent', samples: cpu }),
  ];
}
