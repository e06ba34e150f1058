// Claims, with `--standby=auto`: death → first all_reduce in 0.25 × torchrun's time; death → first line in 60 ms beside what the old workers take to go;
// what waits isn't woken; a cold page cache is filled in 0.7 × the time. Without a target: what the script takes by itself after its imports.
//
// Deaths are SIGKILLs of a random worker. The same script under all launchers, in turns; one that has standbys is left alone until they wait.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  collect,
  interleave,
  ms,
  now,
  randomBelow,
  randomPhase,
  readFile,
  row,
  sleep,
  startJob,
  terminate,
  torchJob,
} from './lib.mjs';
import { python, workersDir } from './machine.mjs';

export const name = 'standby';

/** As in death.bench.mjs: torchrun's store isn't shared, since it'd lose restarts. */
const unshared = { TORCH_DISABLE_SHARE_RDZV_TCP_STORE: '1' };
const stepsJob = { script: path.join(workersDir, 'torch_steps.py') };
const withStandbys = ['--standby=auto', '--standby-after=0'];
const idleMs = 5_000;

const lastOf = stamps => Math.max(...stamps.map(stamp => stamp.ns));
const children = pid =>
  fs
    .readdirSync(`/proc/${pid}/task`)
    .flatMap(thread => readFile(`/proc/${pid}/task/${thread}/children`).split(' '))
    .filter(child => child !== '')
    .map(Number);

/** Until the log has told of standbys that often. */
async function standbysOf(job, times) {
  const until = now() + 120e9;
  while (job.logText().split('standbys wait for the next restart').length <= times) {
    if (now() > until) throw new Error(`no standbys\n${job.logTail()}`);
    await sleep(50);
  }
}

const isStandby = pid => /\0REGROUP_STANDBY=/.test(readFile(`/proc/${pid}/environ`));

export async function run({ launchers, scale }) {
  const samples = collect();
  const torchrun = launchers.find(({ name }) => name === 'torchrun');
  const regroup = launchers.find(({ name }) => name === 'regroup');
  if (!regroup) return [];
  const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-cache-'));
  const common = { LOGLEVEL: 'INFO', REGROUP_CACHE_DIR: cache };
  const ways = [
    { name: 'warm', launcher: regroup, flags: withStandbys, env: common },
    { name: 'cold', launcher: regroup, flags: ['--standby=off'], env: common },
    ...(torchrun ? [{ name: 'torchrun', launcher: torchrun, flags: [], env: unshared }] : []),
  ];

  const deaths = nproc => async way => {
    const count = 3;
    const { launcher, flags, env } = way;
    const job = startJob(launcher, { nproc, maxRestarts: count, worker: torchJob, flags, env });
    for (let round = 0; round < count; round++) {
      await job.until('reduced', { count: nproc, round });
      if (way.name === 'warm') await standbysOf(job, round + 1);
      await randomPhase();
      const alive = job.find('start', round).filter(stamp => stamp.rank !== '-');
      const at = job.kill(alive[randomBelow(nproc)].pid, 'SIGKILL');
      const next = { count: nproc, round: round + 1 };
      const lines = lastOf(await job.until('start', next));
      const imported = lastOf(await job.until('imported', next));
      const reduced = lastOf(await job.until('reduced', next));
      const gone = Math.max(at, lastOf(job.find('term', round)));
      const add = (what, ns) => samples.add(`${nproc} ${what}`, way.name, ms(ns));
      add('line', lines - at);
      add('line behind', lines - gone);
      add('reduced', reduced - at);
      add('script', reduced - imported);
    }
    if (way.name === 'warm' && job.logText().split('starts from standbys').length - 1 !== count)
      throw new Error(`not every restart was warm\n${job.logTail()}`);
    await terminate(launcher, job);
  };

  const idle = async () => {
    const options = {
      nproc: 2,
      maxRestarts: 1,
      worker: torchJob,
      flags: withStandbys,
      env: common,
    };
    const job = startJob(regroup, options);
    await standbysOf(job, 1);
    await sleep(1_000);
    const pids = children(job.pid).filter(isStandby);
    if (pids.length !== 2) throw new Error(`${pids.length} standbys`);
    const before = counters(pids);
    await sleep(idleMs);
    const after = counters(pids);
    samples.add('switches', 'regroup', after.switches - before.switches);
    samples.add('cpu', 'regroup', after.cpuMs - before.cpuMs);
    for (const pid of pids) samples.add('pss', 'regroup', pssMb(pid));
    await terminate(regroup, job);
  };

  const steps = async way => {
    const { launcher, flags, env } = way;
    const job = startJob(launcher, { nproc: 2, maxRestarts: 1, worker: stepsJob, flags, env });
    const first = lastOf(await job.until('step0', { count: 2 }));
    const last = lastOf(await job.until('step100', { count: 2 }));
    samples.add('steps', way.name, ms(last - first));
    await terminate(launcher, job);
  };

  const fromDisk = async way => {
    samples.add('resident', way.name, evict(cache));
    const { launcher, flags, env } = way;
    const job = startJob(launcher, { nproc: 2, maxRestarts: 1, worker: torchJob, flags, env });
    const reduced = lastOf(await job.until('reduced', { count: 2 }));
    samples.add('disk', way.name, ms(reduced - job.startedNs));
    await terminate(launcher, job);
  };

  const ofRegroup = ways.slice(0, 2);
  const once = { warmUp: 0 };
  try {
    for (const nproc of [2, 4]) await interleave(ways, scale(2), deaths(nproc), once);
    for (let turn = 0; turn < scale(2); turn++) await idle();
    await interleave(ofRegroup, scale(4), steps, once);
    await interleave(ofRegroup, scale(4), fromDisk, once);
  } finally {
    fs.rmSync(cache, { recursive: true, force: true });
  }
  return rowsOf(samples);
}

/** Wake-ups and CPU time of all threads so far. */
function counters(pids) {
  let switches = 0;
  let cpuMs = 0;
  for (const pid of pids) {
    for (const thread of fs.readdirSync(`/proc/${pid}/task`)) {
      const status = readFile(`/proc/${pid}/task/${thread}/status`);
      for (const [, count] of status.matchAll(/_ctxt_switches:\s+(\d+)/g))
        switches += Number(count);
      cpuMs += Number(readFile(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]) / 1e6;
    }
  }
  return { switches, cpuMs };
}

const pssMb = pid =>
  Number(/^Pss:\s+(\d+)/m.exec(readFile(`/proc/${pid}/smaps_rollup`))[1]) * 1.024e-3;

/** Has the kernel forget the files of the kept list, as far as nobody has mapped them. @returns MB that it hasn't; NaN where fincore (util-linux) isn't there to tell */
function evict(cache) {
  const lists = fs.readdirSync(cache).map(each => JSON.parse(readFile(path.join(cache, each))));
  const files = [...new Set(lists.flatMap(list => list.files))];
  const program = [
    'import importlib.util, json, os, subprocess, sys',
    'paths = json.load(sys.stdin)',
    'cached = [importlib.util.cache_from_source(each) for each in paths if each.endswith(".py")]',
    'paths = [each for each in paths + cached if os.path.exists(each)]',
    'for path in paths:',
    '    file = os.open(path, os.O_RDONLY)',
    '    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)',
    '    os.close(file)',
    'try:',
    '    sizes = subprocess.run(["fincore", "-nbo", "RES", *paths], stdout=subprocess.PIPE).stdout.split()',
    '    print(sum(map(int, sizes)) / 1e6)',
    'except FileNotFoundError:',
    '    print("NaN")',
  ].join('\n');
  return Number(execFileSync(python, ['-c', program], { input: JSON.stringify(files) }));
}

function rowsOf(samples) {
  const of = (what, ...names) => {
    const found = samples.of(what);
    return Object.fromEntries(names.map(([from, to]) => [to, found[from] ?? []]));
  };
  const warm = [
    ['torchrun', 'torchrun'],
    ['warm', 'regroup'],
  ];
  const cold = [['cold', 'regroup']];
  const rows = [];
  for (const nproc of [2, 4]) {
    const workers = `${nproc} torch workers`;
    rows.push(
      row({
        what: `worker's death → first all_reduce on all, ${workers}, with standbys`,
        samples: of(`${nproc} reduced`, ...warm),
        target: { text: '0.25 × torchrun', limit: (_, { torchrun }) => 0.25 * torchrun?.p50 },
      }),
      row({ what: 'the same without', samples: of(`${nproc} reduced`, ...cold) }),
      row({
        what: "what the script takes of that by itself, from its imports' end on, in a cold round",
        samples: of(`${nproc} script`, ['torchrun', 'torchrun'], ['cold', 'regroup']),
      }),
      row({
        what: `worker's death → last new first line, ${workers}, with standbys`,
        samples: of(`${nproc} line`, ...warm),
      }),
      row({
        what: 'of that, from the end of the last old worker on',
        samples: of(`${nproc} line behind`, ...warm),
        target: { text: '60 ms', limit: () => 60 },
      }),
    );
  }
  const none = { text: 'none', limit: () => 0 };
  const resident = median(samples.of('resident').warm);
  const alone = [['regroup', 'regroup']];
  rows.push(
    row({ what: 'a standby with torch: memory (PSS)', unit: 'MB', samples: of('pss', ...alone) }),
    row({
      what: '2 standbys for 5 s: wake-ups (context switches)',
      unit: '',
      samples: of('switches', ...alone),
      target: none,
    }),
    row({ what: '2 standbys for 5 s: CPU time', samples: of('cpu', ...alone), target: none }),
    row({
      what: '100 steps of 2 torch workers while their standbys are made',
      samples: of('steps', ['warm', 'regroup']),
    }),
    row({ what: 'the same without', samples: of('steps', ...cold) }),
    row({
      what: 'cold page cache: command → first all_reduce, 2 torch workers, with what is read ahead',
      samples: of('disk', ['warm', 'regroup']),
      target: {
        text: '0.7 × without',
        limit: () => 0.7 * median(samples.of('disk').cold),
      },
      ...(Number.isNaN(resident)
        ? {}
        : { note: `${Math.round(resident)} MB were in memory all the same` }),
    }),
    row({ what: 'the same without', samples: of('disk', ...cold) }),
  );
  return rows;
}

const median = values =>
  [...(values ?? [Number.NaN])].sort((a, b) => a - b)[Math.floor((values?.length ?? 1) / 2)];
