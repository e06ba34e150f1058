// The harness: launchers under one interface, jobs with stamps, statistics, rows.
//
// A *job* is one run of a launcher. Its workers, and the stopwatch around the command, write stamps
// (`EVENT RANK ROUND PID NS`, CLOCK_MONOTONIC) into a FIFO of its own; process.hrtime reads the same
// clock, so what the harness does, e.g. killing a worker, has a stamp as well.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  benchDir,
  compile,
  environment,
  python,
  pythonVersion,
  regroupBin,
  regroupCommand,
  repo,
  systemPython,
  workersDir,
} from './machine.mjs';

export { sleep };

/** No job hangs the whole run: past this, it's an error that shows the end of the job's log. */
const patienceMs = 60_000;

// ---------------------------------------------------------------------------------------------
// Launchers. `command({nproc, maxRestarts, worker, flags})` is the argv of one job.

const torchrunFlags = ({ nproc, maxRestarts, flags }) => [
  '--standalone',
  `--nproc-per-node=${nproc}`,
  `--max-restarts=${maxRestarts}`,
  ...flags,
];

const entrypoint = worker =>
  worker.script ? [worker.script, ...(worker.args ?? [])] : ['--no-python', ...worker.program];

/** The flags' spelling before 2.0. */
const underscored = flag =>
  flag.startsWith('--') ? flag.replace(/(?<=\w)-(?=[^=]*(=|$))/g, '_') : flag;

/**
 * Those that this machine has; one line for each that it hasn't.
 *
 * `old` marks torchrun 1.13: it polls every 5 s, so benchmarks give it few runs, or none.
 *
 * @param wanted names. @default all
 * @param before another checkout, built, which becomes a launcher of its own
 */
export function findLaunchers(wanted, before) {
  const torchrun = pythonVersion(python);
  const torchrunOld = pythonVersion(systemPython);
  const command = regroupCommand();
  const all = [
    {
      name: 'torchrun',
      label: `torchrun ${torchrun?.torch}`,
      missing: torchrun ? undefined : `no torch for ${python}`,
      command: job => [
        path.join(path.dirname(python), 'torchrun'),
        ...torchrunFlags(job),
        ...entrypoint(job.worker),
      ],
    },
    {
      name: 'torchrun-1.13',
      label: 'torchrun 1.13',
      old: true,
      missing: torchrunOld?.torch.startsWith('1.13')
        ? undefined
        : `no torch 1.13 for ${systemPython}`,
      command: job => [
        systemPython,
        path.join(benchDir, 'torchrun_1_13.py'),
        ...[...torchrunFlags(job), ...entrypoint(job.worker)].map(underscored),
      ],
    },
    {
      name: 'regroup',
      label: 'regroup',
      missing: fs.existsSync(regroupBin) ? undefined : `no ${path.relative(repo, regroupBin)}`,
      command: job => [...command, ...torchrunFlags(job), ...entrypoint(job.worker)],
    },
    ...(before ? [earlier(before)] : []),
    {
      name: 'floor',
      label: 'floor',
      command: ({ nproc, maxRestarts, worker, port }) => [
        compile('floor.c'),
        ...['-n', nproc, '-r', maxRestarts, '-p', port, '--'].map(String),
        ...(worker.script ? [python, '-u', worker.script, ...(worker.args ?? [])] : worker.program),
      ],
    },
  ].filter(launcher => !wanted || wanted.includes(launcher.name));

  for (const { label, missing } of all) if (missing) console.log(`left out ${label}: ${missing}`);
  return all.filter(launcher => !launcher.missing);
}

/** regroup as another checkout has built it. */
function earlier(folder) {
  const root = path.resolve(folder);
  const store = path.join(root, 'dist', 'bin', 'regroup-store.cjs');
  const command = regroupCommand(root);
  return {
    name: 'before',
    label: `regroup of ${path.basename(root)}`,
    missing: fs.existsSync(store) ? undefined : `no ${store}`,
    command: job => [...command, ...torchrunFlags(job), ...entrypoint(job.worker)],
    store,
  };
}

/** A Python interpreter and nothing else. */
export const bare = { program: [python, '-S', '-E', '-u', path.join(workersDir, 'bare.py')] };
/** The same as users type it: a script, for which the launcher finds the interpreter. */
export const bareScript = { script: path.join(workersDir, 'bare.py') };
/** A static C program. */
export const tiny = () => ({ program: [compile('workers/tiny.c')] });
/** Imports torch, joins a gloo group, sums the ranks. */
export const torchJob = { script: path.join(workersDir, 'torch_job.py') };

// ---------------------------------------------------------------------------------------------
// Jobs

const openJobs = new Set();
/** Ends what a benchmark that threw has left. */
export function abandonAll() {
  for (const job of openJobs) job.abandon();
}
process.on('exit', abandonAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

export const now = () => Number(process.hrtime.bigint());
export const ms = ns => ns / 1e6;

function parseStamp(line) {
  const [event, rank, round, pid, ns] = line.split(' ');
  return { event, rank, round: Number(round), pid: Number(pid), ns: Number(ns) };
}

/** Two free ports in a row would be luck; the floor wants one per round, so take them far apart. */
let nextPort = 21_000 + (process.pid % 300) * 20;

/**
 * Starts `argv` under the stopwatch.
 *
 * @param stdout a path for the command's stdout; its log otherwise, with stderr
 * @returns stamps so far, `until`, `kill`, `ended`; use with `await using`, or call `abandon`
 */
function start(argv, { env = {}, stdout } = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-'));
  const fifo = path.join(dir, 'stamps');
  const log = path.join(dir, 'log');
  execFileSync('mkfifo', [fifo]);
  const readEnd = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const keptOpen = fs.openSync(fifo, fs.constants.O_WRONLY); // so that reading never meets an end
  const reader = new net.Socket({ fd: readEnd, readable: true, writable: false });

  const stamps = [];
  const pids = new Set();
  const waiters = new Set();
  let rest = '';
  reader.on('data', chunk => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const stamp = parseStamp(line);
      stamps.push(stamp);
      if (stamp.event === 'end') pids.delete(stamp.pid);
      else pids.add(stamp.pid);
    }
    for (const waiter of waiters) if (waiter.check()) waiters.delete(waiter);
  });

  const logFd = fs.openSync(log, 'w');
  const stdoutFd = stdout ? fs.openSync(stdout, 'w') : logFd;
  const watch = spawn(compile('stopwatch.c'), [fifo, ...argv], {
    env: environment({ BENCH_STAMPS: fifo, ...env }),
    stdio: ['ignore', stdoutFd, logFd],
    cwd: dir,
    detached: true, // a session of its own, as from an interactive shell: another scheduling group
  });
  fs.closeSync(logFd);
  if (stdout) fs.closeSync(stdoutFd);

  const logText = () => fs.readFileSync(log, 'utf8');
  const logTail = () => fs.readFileSync(log, 'utf8').slice(-3_000);
  const find = (event, round) =>
    stamps.filter(s => s.event === event && (round === undefined || s.round === round));

  const job = {
    stamps,
    find,
    logText,
    logTail,
    /** Stamps of `event`, once there are `count` of them in `round`. */
    until(event, { count = 1, round, deadlineMs = patienceMs } = {}) {
      return new Promise((resolve, reject) => {
        const fail = when => {
          const seen = stamps.map(s => `${s.event}/${s.rank}/${s.round}`).join(' ');
          const what = `no ${count} × ${event} of round ${round ?? 'any'} ${when}`;
          reject(new Error(`${argv.join(' ')}\n${what}; saw: ${seen.slice(-800)}\n${logTail()}`));
        };
        const waiter = {
          /** Whether this is settled. */
          check() {
            const found = find(event, round);
            const over = find('end').length > 0;
            if (found.length < count && !over) return false;
            clearTimeout(waiter.timer);
            if (found.length >= count) resolve(found);
            else fail('before the command ended');
            return true;
          },
          timer: setTimeout(() => {
            waiters.delete(waiter);
            fail(`in ${deadlineMs} ms`);
          }, deadlineMs),
        };
        if (waiter.check()) return;
        waiters.add(waiter);
      });
    },
    /** The command's own pid. */
    get pid() {
      return stamps.find(s => s.event === 'start' && s.rank === '-')?.pid;
    },
    get startedNs() {
      return stamps.find(s => s.event === 'start' && s.rank === '-')?.ns;
    },
    /** Sends a signal to one of the job's processes and returns the moment before. */
    kill(pid, signal) {
      const at = now();
      process.kill(pid, signal);
      return at;
    },
    /** Waits for the command's end; `codes` are those that count as the right answer. */
    async ended(codes) {
      const [end] = await job.until('end');
      const code = Number(end.rank);
      if (!codes.includes(code))
        throw new Error(`${argv.join(' ')}: exit code ${code}, expected ${codes}\n${logTail()}`);
      return { ns: end.ns, code };
    },
    /** Ends whatever of it is left. Idempotent. */
    abandon() {
      if (!openJobs.delete(job)) return;
      for (const waiter of waiters) clearTimeout(waiter.timer);
      waiters.clear();
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // gone already, which is what we want
        }
      }
      if (watch.exitCode === null) watch.kill('SIGKILL');
      reader.destroy();
      fs.closeSync(keptOpen);
      fs.rmSync(dir, { recursive: true, force: true });
    },
    async [Symbol.asyncDispose]() {
      job.abandon();
    },
  };
  openJobs.add(job);
  return job;
}

/** Starts a job of `launcher`. `flags` go to those that know torchrun's grammar. */
export function startJob(launcher, { nproc, maxRestarts = 0, worker, flags = [], env, stdout }) {
  nextPort = nextPort > 28_000 ? 21_000 : nextPort + 40;
  const argv = launcher.command({ nproc, maxRestarts, worker, flags, port: nextPort });
  return start(argv, { env, stdout });
}

/** Starts one node of a job of several, which meet at a port of this machine. */
export function startNode(launcher, { nnodes, port, ...job }) {
  const flags = [
    `--nnodes=${nnodes}`,
    '--rdzv-backend=c10d',
    `--rdzv-endpoint=127.0.0.1:${port}`,
    '--rdzv-id=bench',
    '--rdzv-conf=last_call_timeout=1',
  ];
  const argv = launcher.command({ flags: [], maxRestarts: 0, ...job });
  const at = argv.indexOf('--standalone');
  return start(argv.toSpliced(at, 1, ...flags), { env: job.env });
}

/** Runs a plain command to its end; milliseconds from start to end. */
export async function timeCommand(argv, { code = 0, env } = {}) {
  const job = start(argv, { env });
  try {
    const end = await job.ended([code]);
    return ms(end.ns - job.startedNs);
  } finally {
    job.abandon();
  }
}

/** How workers die in benchmarks, in turn. */
export const deathWays = ['exit', 'SIGKILL', 'SIGSEGV'];

/** Longer than torchrun's poll of 100 ms, so that every phase of it is met. */
const phaseMs = 150;

/** Waits until some phase of whatever poll the launcher may have. */
export const randomPhase = () => sleep(30 + randomBelow(phaseMs));

/** Ends a worker by one of deathWays; the moment of its death. `round`: of its stamp, if there are several. */
export async function die(job, victim, way, round) {
  if (way !== 'exit') return job.kill(victim.pid, way);
  job.kill(victim.pid, 'SIGUSR1');
  const [exit] = await job.until('exit', { round });
  return exit.ns;
}

/** Exit codes that are right after a SIGTERM that all workers honour (spec/launcher.md §4.8). */
export const codesAfterTerm = {
  torchrun: [1],
  'torchrun-1.13': [1],
  regroup: [1],
  before: [1],
  floor: [143],
};

/** Ends a job whose workers honour SIGTERM; milliseconds from the signal to the command's end. */
export async function terminate(launcher, job) {
  const at = job.kill(job.pid, 'SIGTERM');
  const end = await job.ended(codesAfterTerm[launcher.name]);
  job.abandon();
  return ms(end.ns - at);
}

/** Runs `measure(launcher, i)` in turns, so that noise meets all launchers alike; the first turn warms up. */
export async function interleave(launchers, runs, measure, { warmUp = 1, runsOf } = {}) {
  const most = Math.max(...launchers.map(l => runsOf?.(l) ?? runs));
  for (let i = -warmUp; i < most; i++) {
    const turn = launchers.map((_, k) => launchers[(k + Math.max(i, 0)) % launchers.length]);
    for (const launcher of turn) {
      if (i >= (runsOf?.(launcher) ?? runs)) continue;
      await measure(launcher, i);
    }
  }
}

/** Samples by row and launcher, e.g. `samples.add('told', 'regroup', 0.9)`. */
export function collect() {
  const rows = new Map();
  return {
    add(row, launcher, ...values) {
      if (!rows.has(row)) rows.set(row, {});
      const byLauncher = rows.get(row);
      byLauncher[launcher] ??= [];
      byLauncher[launcher].push(...values);
    },
    of: row => rows.get(row) ?? {},
  };
}

// ---------------------------------------------------------------------------------------------
// Statistics and rows

const round2 = value => (value >= 100 ? Math.round(value) : Math.round(value * 100) / 100);

/** Nearest rank. */
export function summarise(values) {
  if (!values?.length) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const at = q => round2(sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]);
  return {
    n: sorted.length,
    min: round2(sorted[0]),
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    max: round2(sorted.at(-1)),
  };
}

/**
 * One line of the table.
 *
 * @param samples by launcher name
 * @param target `{ text, limit(floor, figures), atLeast }`: what `regroup` has to stay within, or reach,
 *   in the row's unit; `floor` is the floor's summary
 * @param stat the statistic that the target speaks of. @default 'p50'
 * @param detail not for the README
 */
export function row({ what, unit = 'ms', samples, target, stat = 'p50', note, detail }) {
  const figures = {};
  for (const [name, values] of Object.entries(samples)) figures[name] = summarise(values);
  const { regroup, floor } = figures;
  const limit = target?.limit?.(floor, figures);
  let verdict = '';
  if (target && !regroup) verdict = 'not measured';
  else if (target && limit !== undefined && !Number.isNaN(limit))
    verdict = (target.atLeast ? regroup[stat] >= limit : regroup[stat] <= limit) ? 'met' : 'missed';
  return {
    what,
    unit,
    stat,
    figures,
    target: target?.text,
    limit: limit === undefined || Number.isNaN(limit) ? undefined : round2(limit),
    verdict,
    note,
    detail,
  };
}

// ---------------------------------------------------------------------------------------------
// Processes

export const readFile = file => fs.readFileSync(file, 'utf8');

/** A process and its descendants that aren't workers: the agent and its helpers. */
export function agentPids(job) {
  const workers = new Set(job.find('start').flatMap(s => (s.rank === '-' ? [] : [s.pid])));
  const found = [];
  const visit = pid => {
    if (workers.has(pid)) return;
    found.push(pid);
    for (const thread of fs.readdirSync(`/proc/${pid}/task`)) {
      const children = readFile(`/proc/${pid}/task/${thread}/children`).trim();
      for (const child of children ? children.split(' ') : []) visit(Number(child));
    }
  };
  visit(job.pid);
  return found;
}

export const randomBelow = limit => Math.floor(Math.random() * limit);
