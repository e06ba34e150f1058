import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { cleanEnv, type Ended, runCli, startProgram } from '../../harness.js';

/**
 * F-F07, F-H10, F-H12: whatever the machine refuses between our first line and the first worker is told in one line,
 * with exit code 1, and nothing is left: it's no mistake of ours.
 */

// Some hundred starts, most of them under strace.
t.setTimeout(1_200_000);

const job = ['--standalone', '--nproc-per-node=2', '--no-python', 'true'];
const threads = resolve('test/fixtures/threads.cjs');
const env = { OMP_NUM_THREADS: '1' };
const isRoot = process.getuid?.() === 0;

/** Warnings may come before it; a job that runs all the same may have some as well. */
function isClear(t: Test, { code, signal, stderr }: Ended, what: string): void {
  const lines = stderr.split('\n').slice(0, -1);
  const last = code === 0 ? undefined : lines.pop();
  const isWarning = (line: string): boolean => /^W\d{4} \S+ \d+ regroup\] \S/.test(line);
  const isError = last === undefined || /^regroup: error: \S.*/.test(last);
  const isOurs = /internal error|UNKNOWN|\bat \S+ \(/.test(stderr);
  if ([0, 1].includes(code ?? -1) && isError && !isOurs && lines.every(isWarning)) t.pass(what);
  else t.fail(`${what}: ${signal ?? code}`, { stderr });
}

/** From the first limit that Node itself starts with, until the job runs several times in a row as if nothing were. */
async function sweep(
  t: Test,
  limit: (n: number) => readonly string[],
  floor: number,
): Promise<void> {
  const isWell = ({ code, stderr }: Ended): boolean => code === 0 && stderr === '';
  let failed = 0;
  let inARow = 0;
  for (let n = floor; inARow < 4 && n < 200; n++) {
    const ended = await runCli(t, job, { env, cwd: '/', under: limit(n) });
    isClear(t, ended, `with ${n}`);
    inARow = isWell(ended) ? inARow + 1 : 0;
    if (ended.code !== 0) failed++;
  }
  t.equal(inARow, 4, 'with enough of them the job runs');
  t.ok(failed > 2, `${failed} limits were too low for us, and not for Node`);
}

t.test('F-F07, F-H12: too few descriptors are told at each limit', t => {
  const limit = (n: number): readonly string[] => ['prlimit', `--nofile=${n}:${n}`];
  const runs = (n: number): boolean => {
    const [file = '', ...args] = [...limit(n), process.execPath, threads];
    return spawnSync(file, args, { env: cleanEnv() }).status === 0;
  };
  let floor = 40;
  while (floor > 1 && runs(floor - 1)) floor--;
  return sweep(t, limit, floor);
});

t.test(
  'F-F07, F-H12: so are too few processes',
  { skip: isRoot ? false : 'needs root, to be a user of whom nobody else has processes' },
  t => {
    // The limit counts all processes of a user.
    const user = 100_000 + process.pid;
    const as = ['setpriv', `--reuid=${user}`, '--clear-groups', '--inh-caps=-all'];
    // Where Node can't start its own threads it waits for them without end.
    const floor = Number(spawnSync(process.execPath, [threads], { env: cleanEnv() }).stdout);
    return sweep(t, n => [...as, 'prlimit', `--nproc=${n}:${n}`], floor);
  },
);

t.test('F-H10: a working directory that is gone is needed by nobody', async t => {
  const inGone = (...args: string[]): Promise<Ended> => {
    const gone = join(mkdtempSync(join(tmpdir(), 'regroup-test-')), 'gone');
    const under = ['sh', '-c', 'mkdir "$0" && cd "$0" && rm -r "${0%/*}" && exec "$@"', gone];
    return runCli(t, ['--standalone', ...args], { under });
  };

  const ran = await inGone('--no-python', 'true');
  const planned = await inGone('--dry-run', '--no-python', 'true');
  const script = await inGone('train.py');
  const logs = await inGone('--log-dir=logs', '--no-python', 'true');

  t.match(ran, { code: 0, stderr: '' });
  t.match(planned, { code: 0, stdout: /\n {2}cwd +\(deleted\)\n/ });
  t.match(script, {
    code: 1,
    stderr: /^regroup: error: .*'train\.py' \(the working directory is gone\)\n$/,
  });
  t.match(logs, {
    code: 1,
    stderr: /^regroup: error: log_dir: logs is relative, and the working directory is gone; .*\n$/,
  });
});

t.test(
  'F-F07: a machine without /proc runs jobs',
  { skip: isRoot ? false : 'needs root for a mount' },
  async t => {
    const under = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /proc; exec "$@"', 'sh'];
    t.match(await runCli(t, job, { env, under }), { code: 0 });
  },
);

/** System calls of a start, and how each of them fails where something has run out or is forbidden. */
const failures: Readonly<Record<string, string>> = {
  access: 'EACCES',
  bind: 'EADDRINUSE',
  clone: 'EAGAIN',
  clone3: 'EAGAIN',
  epoll_create1: 'EMFILE',
  eventfd2: 'EMFILE',
  fcntl: 'EMFILE',
  ftruncate: 'ENOSPC',
  getcwd: 'ENOENT',
  getdents64: 'EIO',
  getrandom: 'ENOSYS',
  getsockname: 'ENOBUFS',
  inotify_add_watch: 'ENOSPC',
  inotify_init1: 'EMFILE',
  listen: 'EADDRINUSE',
  memfd_create: 'EPERM',
  mkdir: 'ENOSPC',
  openat: 'EMFILE',
  pidfd_open: 'EPERM',
  pipe2: 'EMFILE',
  prlimit64: 'EPERM',
  rmdir: 'EACCES',
  sched_getaffinity: 'EPERM',
  socket: 'EMFILE',
};

/** The main thread's calls: the number of each among those of its name, from the first line of `script` on. */
function callsOf(trace: string, script: string): { name: string; number: number; line: string }[] {
  const counts = new Map<string, number>();
  let begun = false;
  return trace.split('\n').flatMap(line => {
    const name = /^(\w+)\(/.exec(line)?.[1] ?? '';
    const number = (counts.get(name) ?? 0) + 1;
    counts.set(name, number);
    const isOurs = begun && name in failures;
    if (line.includes(`/${script}"`) && name === 'openat') begun = true;
    return isOurs ? [{ name, number, line }] : [];
  });
}

const hasStrace = spawnSync('strace', ['--version']).status === 0;

/** Starts the program once for each of its calls, and lets that one fail. */
async function failEach(
  t: Test,
  program: readonly string[],
  check: (ended: Ended, what: string) => void,
  names: readonly string[] = Object.keys(failures),
): Promise<number> {
  const folder = t.testdir({});
  const trace = join(folder, 'trace');
  const strace = ['strace', '-qq', '-o', trace];
  const run = (...more: string[]): Promise<Ended> =>
    startProgram(t, [...strace, ...more, process.execPath, ...program], { env }).ended;

  t.match(await run(), { code: 0 });
  const script = program[0]?.split('/').at(-1) ?? '';
  const calls = callsOf(readFileSync(trace, 'utf8'), script).filter(({ name }) =>
    names.includes(name),
  );
  for (const { name, number, line } of calls) {
    const fault = `${name}:error=${failures[name]}:when=${number}`;
    const ended = await run('-e', `trace=${name}`, '-e', `inject=${fault}`);
    check(ended, `${name} ${failures[name]}, for ${line.slice(0, 80)}`);
  }
  return calls.length;
}

const skip = hasStrace ? false : 'no strace: `apt-get install strace`';

/** @source libuv, src/threadpool.c, init_threads: abort() where one of its four threads can't be had */
const poolThreads = 4;

/** Whether a start has met libuv's end: threads were to be had when we asked, and then one wasn't. */
function isPoolsEnd({ signal, stdout, stderr }: Ended, what: string): boolean {
  return what.startsWith('clone3 ') && signal === 'SIGABRT' && stdout === '' && stderr === '';
}

t.test('F-F07: each system call of a start fails once', { skip }, async t => {
  const args = [resolve('dist/bin/regroup.cjs'), ...job];
  let poolsEnds = 0;
  const count = await failEach(t, args, (ended, what) => {
    if (isPoolsEnd(ended, what)) poolsEnds++;
    else isClear(t, ended, what);
  });
  t.ok(poolsEnds <= poolThreads, `${poolsEnds} times libuv aborted`);
  t.ok(count > 40, `${count} calls`);
});

t.test('F-F07: a program that calls launch() gets a RegroupError', { skip }, async t => {
  const scarce = ['clone3', 'epoll_create1', 'eventfd2', 'getcwd', 'mkdir', 'socket'];
  const count = await failEach(
    t,
    [resolve('test/fixtures/launches.cjs')],
    (ended, what) => {
      if (isPoolsEnd(ended, what)) return;
      const { stdout, stderr } = ended;
      const { outcome, name, code } = JSON.parse(stdout);
      t.ok(
        outcome === 'succeeded' || (name === 'RegroupError' && code !== 'ERR_INTERNAL'),
        `${what}: ${stdout}`,
      );
      t.equal(stderr, '');
    },
    scarce,
  );
  t.ok(count >= scarce.length, `${count} calls`);
});
