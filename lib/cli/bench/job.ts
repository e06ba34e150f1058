import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, type Process, processOf, type Ranked, rankedBelow, treeOf } from './processes.js';

/** What went wrong with a job that's measured, in words for people. */
export class BenchError extends Error {}

/** A launcher's job, from its command to its end. */
export interface BenchJob {
  /** Ranked processes, workers and standbys. */
  ranked(): Ranked[];
  /**
   * The time of the next line that fits, by `performance.now()`.
   *
   * @throws BenchError where none comes in time, or the job ends
   */
  until(fits: (line: string) => boolean, what: string, timeoutMs: number): Promise<number>;
  /** Lets it run for a while. @throws BenchError if it ends before what this waits for */
  runFor(ms: number, what: string): Promise<void>;
  /** What's wrong with it, with the end of its output. */
  problem(what: string): BenchError;
  /** Kills the launcher alone, if it lives. @returns when, and what it leaves behind */
  killLauncher(): { readonly atMs: number; readonly left: readonly Process[] };
  /** Ends it, whatever of it is left. Idempotent. */
  end(): Promise<void>;
}

/** How long a launcher has to end its workers at SIGTERM. */
const endMs = 10_000;
/** Lines of its output that an error shows. */
const shownLines = 8;
const lookMs = 20;

/**
 * Starts a job.
 *
 * @param onLine hears each line of its output, before `until` does
 * @throws BenchError if there's no such command
 */
export async function startJob(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchJob> {
  const [file = '', ...args] = argv;
  signal.throwIfAborted();
  // A session of its own: a Ctrl-C is ours, and we end it in order.
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  await once(child, 'spawn').catch(error => {
    throw new BenchError(`${file} could not be started: ${error.message}`);
  });
  return follow(child, file, onLine, signal);
}

function follow(
  child: ChildProcess,
  name: string,
  onLine: (line: string) => void,
  signal: AbortSignal,
): BenchJob {
  // Nobody else has its number before `child` tells that it's over.
  const launcher = processOf(child.pid ?? 0);
  const last: string[] = [];
  const seen = new Map<number, Process>();
  let waiter: { readonly line: (line: string, atMs: number) => void } | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', line => {
      const atMs = performance.now();
      last.push(line);
      if (last.length > shownLines) last.shift();
      onLine(line);
      waiter?.line(line, atMs);
    });
  }
  const exited = once(child, 'exit');
  exited.catch(() => {}); // it's spawned: errors are about signals now
  child.on('error', () => {}); // as above

  /** Notes whatever it has started by now: who loses its parent is found by that. */
  function look(): void {
    if (launcher === undefined || isOver()) return;
    for (const process of treeOf(launcher)) seen.set(process.pid, process);
  }

  function isOver(): boolean {
    return child.exitCode !== null || child.signalCode !== null;
  }

  /** Rejects when the launcher ends. */
  async function ending(when: string): Promise<never> {
    const [code, by] = await exited;
    throw problem(`it has ended with ${by ?? `code ${code}`} ${when}`);
  }

  /** What was awaited; undefined when the time is over. @throws BenchError if the launcher ends before */
  async function within<T>(ms: number, when: string, awaited?: Promise<T>): Promise<T | undefined> {
    const over = new AbortController();
    const options = { signal: AbortSignal.any([signal, over.signal]) };
    const slept = sleep(ms, undefined, options);
    const ended = ending(when);
    try {
      return await Promise.race(awaited === undefined ? [ended, slept] : [awaited, ended, slept]);
    } finally {
      over.abort();
      slept.catch(() => {}); // it lost the race, or told already
      ended.catch(() => {}); // as above
    }
  }

  function problem(what: string): BenchError {
    const lines = last.map(line => `\n  | ${line}`).join('');
    return new BenchError(`${name}: ${what}; the end of its output:${lines}`);
  }

  return {
    problem,
    ranked() {
      look();
      return launcher === undefined || isOver() ? [] : rankedBelow(launcher);
    },
    async until(fits, what, timeoutMs) {
      const found = new Promise<number>(resolve => {
        waiter = { line: (line, atMs) => fits(line) && resolve(atMs) };
      });
      try {
        const atMs = await within(timeoutMs, `without ${what}`, found);
        if (atMs === undefined) throw problem(`no ${what} in ${timeoutMs} ms`);
        return atMs;
      } finally {
        waiter = undefined;
      }
    },
    async runFor(ms, what) {
      await within(ms, `before ${what}`);
    },
    killLauncher() {
      look();
      const atMs = performance.now();
      child.kill('SIGKILL');
      const left = [...seen.values()].filter(each => each.pid !== child.pid && isAlive(each));
      return { atMs, left };
    },
    async end() {
      look();
      if (!isOver()) {
        child.kill('SIGTERM');
        await Promise.race([exited, sleep(endMs, undefined, { ref: false })]);
        look();
      }
      child.kill('SIGKILL');
      killAll([...seen.values()]);
      await allGone([...seen.values()], endMs);
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}

/** Sends a signal to those that live. */
export function killAll(processes: readonly Process[], signal: NodeJS.Signals = 'SIGKILL'): void {
  for (const each of processes) {
    try {
      if (isAlive(each)) process.kill(each.pid, signal);
    } catch {
      // It's gone by now, which is what we want.
    }
  }
}

/** Looks until they're gone. @returns those that aren't after `limitMs` */
export async function allGone(
  processes: readonly Process[],
  limitMs: number,
): Promise<readonly Process[]> {
  const untilMs = performance.now() + limitMs;
  for (;;) {
    const left = processes.filter(isAlive);
    if (left.length === 0 || performance.now() > untilMs) return left;
    // Nothing tells of a stranger's end but looking.
    await sleep(lookMs / 10);
  }
}
