import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { isAlive, processesWith } from './processes.js';

export { isAlive };

/** For a line of those who outlive the command and hold its output. */
const silenceMs = 60_000;

/** A running command under test. Times, where a test needs one, come from the events it prints. */
export interface CliRun {
  readonly pid: number;
  /** What it has printed so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /**
   * The next line of either stream that matches, also of those that came before this call but
   * weren't given yet. Rejects with all that was printed if the command ends without it, or a minute later if somebody
   * still holds its output.
   */
  line(pattern: RegExp): Promise<string>;
  /** Resolves when its stdout contains the text, which needn't be a whole line. Rejects as `line` does. */
  shows(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** Writes to a pipe that `typing` keeps at its stdin; nothing closes it. */
  type(text?: string): void;
  /** Settles when the command and everybody who holds its stdout or stderr is gone. */
  readonly ended: Promise<Ended>;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  /** Added to the tests' own environment; undefined removes. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly command?: 'regroup' | 'regroup-launch' | 'regroup-store';
  /** A command in front that executes the rest, and so keeps the pid: `prlimit`, `setpriv`, a shell. */
  readonly under?: readonly string[];
  /** What the command reads from its stdin; without it, /dev/null. */
  readonly stdin?: string;
  /** Keeps a pipe at its stdin open, for CliRun.type(). */
  readonly typing?: boolean;
  /** Files that may be left in TMPDIR. @default none */
  readonly mayLeave?: RegExp;
}

/** In front of a command that root starts: as another user, without root's rights. */
export const asNobody = [
  'setpriv',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
  '--inh-caps=-all',
] as const;

/** In the environment of everything that a test starts, so that what is left can be found. */
const cookieName = 'REGROUP_TEST_COOKIE';

/**
 * What tests need for themselves: tap's, what Node is told, which costs Node 20 some 50 ms a start, and interpreters. And what
 * a scheduler says of the job that the tests run in.
 */
const ofTests =
  /^_?TAP|^NODE_OPTIONS$|^NODE_EXTRA_CA_CERTS$|^REGROUP_PYTHON$|^(SLURM|SKYPILOT|LEPTON)_|^JOB_COMPLETION_INDEX$/;

/**
 * The environment of commands under test: ours, without what tests need for themselves. They run on our own Node, whatever
 * PATH a test gives them. PATH's Python is that of ./.venv, if there is one, so that a checkout with and without it behave
 * alike.
 */
export function cleanEnv(added: CliOptions['env'] = {}): NodeJS.ProcessEnv {
  const path = [
    ...(existsSync('.venv/bin/python') ? [resolve('.venv/bin')] : []),
    process.env.PATH,
  ];
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: path.join(':'),
    REGROUP_NODE: process.execPath,
    ...added,
  };
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || (ofTests.test(name) && !(name in added))) delete env[name];
  }
  return env;
}

/**
 * Starts the built command. When the test ends it must have left no process, no file in its
 * TMPDIR, and so no socket; what is left is killed, and fails the test.
 */
export function startCli(t: Test, args: readonly string[], options: CliOptions = {}): CliRun {
  return startProgram(t, [commandPath(options.command), ...args], options);
}

/** A command as users start it: with the front program first. */
export function commandPath(command: CliOptions['command'] = 'regroup'): string {
  return resolve('build/bin', command);
}

/** What the front program runs: the same command, by Node alone. */
export function bareCommand(command: CliOptions['command'] = 'regroup'): readonly string[] {
  return [process.execPath, resolve('dist/bin', `${command}.cjs`)];
}

/** The same for any other program that a test needs beside the command. */
export function startProgram(
  t: Test,
  program: readonly string[],
  options: CliOptions = {},
): CliRun {
  const { env, tmp } = guarded(t, options);
  const command = [...(options.under ?? []), ...program];
  const hasStdin = options.stdin !== undefined || options.typing === true;
  const child = spawn(command[0] ?? '', command.slice(1), {
    env: { ...env, TMPDIR: options.env?.TMPDIR ?? tmp },
    cwd: options.cwd,
    stdio: [hasStdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  if (options.stdin !== undefined) child.stdin?.end(options.stdin);
  return follow(child);
}

/** Nothing tells of a stranger's end but looking. The test's time limit bounds it. */
export async function gone(pids: readonly number[]): Promise<true> {
  while (pids.some(isAlive)) await sleep(10);
  return true;
}

/** Runs the built command to its end. */
export function runCli(t: Test, args: readonly string[], options?: CliOptions): Promise<Ended> {
  return startCli(t, args, options).ended;
}

export interface Served {
  readonly host: string;
  readonly port: number;
}

/** Our store on a port of its own, or on one that was its before; ends with the test. */
export async function serveStore(
  t: Test,
  port = 0,
  env: CliOptions['env'] = {},
): Promise<Served & { readonly run: CliRun }> {
  const args = ['--host=127.0.0.1', `--port=${port}`];
  const run = startCli(t, args, { command: 'regroup-store', env });
  t.teardown(async () => {
    run.kill('SIGTERM');
    await run.ended;
  });
  const line = await run.line(/^ready /);
  return { host: '127.0.0.1', port: Number(line.split(':').at(-1)), run };
}

/**
 * For tests that call launch() in their own process: the environment and TMPDIR to give to
 * workers. Checks at the test's end as startCli does, and that this process listens nowhere new.
 */
export function guarded(
  t: Test,
  options: Pick<CliOptions, 'env' | 'mayLeave'> = {},
): { readonly env: NodeJS.ProcessEnv; readonly tmp: string } {
  const cookie = randomUUID();
  // Not t.testdir(), which a test that wants one of its own would empty.
  const tmp = mkdtempSync(join(tmpdir(), 'regroup-test-'));
  const listeningBefore = listeningSockets(process.pid);

  t.teardown(async () => {
    // Thrown in the turn in which the test ends, an error would be reported twice.
    await nextTurn();
    const left = leftWith(cookie);
    for (const { pid } of left) kill(pid);
    const files = readdirSync(tmp)
      // PyTorch's cache of compiled code, made by any worker that imports enough of it.
      .filter(name => !name.startsWith('torchinductor_'))
      .filter(name => !options.mayLeave?.test(name));
    rmSync(tmp, { recursive: true, force: true });
    const sockets = listeningSockets(process.pid).filter(s => !listeningBefore.includes(s));

    const found = [
      ...left.map(({ pid, command }) => `process ${pid}: ${command}`),
      ...files.map(name => `file ${join(tmp, name)}`),
      ...sockets.map(socket => `listening socket ${socket}`),
    ];
    // Thrown in a teardown, it fails the test that it belongs to.
    if (found.length > 0) throw new Error(`the test left behind\n${found.join('\n')}`);
  });

  return { env: cleanEnv({ ...options.env, [cookieName]: cookie }), tmp };
}

/** Descriptors of a process that listen for TCP connections, by address and inode. */
export function listeningSockets(pid: number): string[] {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/.exec(
      attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '',
    )?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const listening = '0A';
  return ['tcp', 'tcp6'].flatMap(table =>
    (attempt(() => readFileSync(`/proc/${pid}/net/${table}`, 'utf8')) ?? '')
      .split('\n')
      .slice(1)
      .map(row => row.trim().split(/\s+/))
      .filter(row => row[3] === listening && inodes.has(row[9] ?? ''))
      .map(row => `${row[1]} inode ${row[9]}`),
  );
}

function follow(child: ChildProcess): CliRun {
  let stdout = '';
  let stderr = '';
  const lines: string[] = [];
  const waiting: { pattern: RegExp; found: (line: string) => void }[] = [];
  const looking: { text: string; found: () => void }[] = [];

  const offer = (line: string): void => {
    const index = waiting.findIndex(({ pattern }) => pattern.test(line));
    if (index < 0) lines.push(line);
    else for (const waiter of waiting.splice(index, 1)) waiter.found(line);
  };
  child.stdout?.setEncoding('utf8').on('data', text => {
    stdout += text;
    for (const { text, found } of looking) if (stdout.includes(text)) found();
  });
  child.stderr?.setEncoding('utf8').on('data', text => {
    stderr += text;
  });
  for (const stream of [child.stdout, child.stderr]) {
    if (stream) createInterface({ input: stream }).on('line', offer);
  }

  const ended = once(child, 'close').then(
    ([code, signal]): Ended => ({ code, signal, stdout, stderr }),
  );
  // Who holds its output then, and lives on, has had the time to say something.
  const silent = once(child, 'exit').then(async ([code, signal]): Promise<Ended> => {
    await sleep(silenceMs, undefined, { ref: false });
    return { code, signal, stdout, stderr };
  });
  silent.catch(() => {}); // `ended` tells
  /** Rejects when it ends before. */
  const before = <T>(what: string, awaited: Promise<T>): Promise<T> => {
    const gone = Promise.race([ended, silent]).then(end => {
      throw new Error(
        `ended with ${end.signal ?? end.code} without ${what}\n${end.stdout}\n${end.stderr}`,
      );
    });
    return Promise.race([awaited, gone]);
  };
  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    kill: signal => {
      child.kill(signal);
    },
    type: text => {
      if (text === undefined) child.stdin?.end();
      else child.stdin?.write(text);
    },
    ended,
    line: async pattern => {
      const index = lines.findIndex(line => pattern.test(line));
      if (index >= 0) return lines.splice(index, 1)[0] ?? '';

      const line = new Promise<string>(found => waiting.push({ pattern, found }));
      return before(`a line like ${pattern}`, line);
    },
    shows: async text => {
      if (stdout.includes(text)) return;
      await before(`showing ${text}`, new Promise<void>(found => looking.push({ text, found })));
    },
  };
}

function leftWith(cookie: string): { pid: number; command: string }[] {
  return processesWith(`${cookieName}=${cookie}`).map(pid => ({
    pid,
    command: (attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '').replaceAll(
      '\0',
      ' ',
    ),
  }));
}

function kill(pid: number): void {
  attempt(() => process.kill(pid, 'SIGKILL'));
}

/** Processes come and go while /proc is read: one that's gone has nothing to say. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
