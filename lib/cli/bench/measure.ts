import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { RestartPhases } from '../../events/restarts.js';
import { withoutSecrets } from '../../options/token.js';
import { unreachable } from '../../util/unreachable.js';
import { parseRestarted } from '../text/restarts.js';
import { allGone, BenchError, type BenchJob, killAll, startJob } from './job.js';
import type { BenchOptions, KillKind } from './options.js';
import type { Ranked } from './processes.js';

/** One kill, and what followed. */
export interface Sample {
  readonly kind: KillKind;
  /** Milliseconds from the kill to the first step of the next round; without a pattern what the restart's own line says. */
  readonly totalMs?: number;
  /** The line that ended the time, where there's a pattern. */
  readonly line?: string;
  /** Why no step came: the job has ended or hung. Then there's no time. */
  readonly problem?: string;
  /** Of our own restarts, where they were told in time. */
  readonly phases?: RestartPhases;
  /** Processes that a killed launcher has left behind, and that we had to kill. */
  readonly left?: number;
}

export interface Launcher {
  readonly name: string;
  /** Words before the job's. */
  readonly command: readonly string[];
  /** Whether it tells its restarts as we do. */
  readonly isOurs: boolean;
}

export interface Measured {
  readonly launcher: Launcher;
  readonly samples: Sample[];
}

/** Whom measuring tells, and who ends it. */
export interface Listeners {
  readonly signal: AbortSignal;
  /** A turn's job has made its first step. */
  onBegun(launcher: Launcher, turn: number): void;
  onSample(launcher: Launcher, sample: Sample): void;
}

/** Longer than torchrun's poll of 100 ms, so that every phase of it is met. */
const phaseMs = 150;
/** Restarts beyond one for each kill: a launcher's round may fail by itself, and be restarted in the same time. */
const spareRestarts = 10;
/** How long our own line may come behind the step. */
const lineMs = 1000;
/** How long what a killed launcher has left may take to end by itself. */
const leftMs = 10_000;
const lookMs = 50;

/**
 * Kills of each kind with each launcher, in turns: each turn is a job of each, and in it one kill of each kind.
 *
 * @param given the jobs' environment, but for TMPDIR
 * @throws BenchError; the signal's reason
 */
export async function measure(
  options: BenchOptions,
  launchers: readonly Launcher[],
  given: NodeJS.ProcessEnv,
  { signal, onBegun, onSample }: Listeners,
): Promise<Measured[]> {
  const measured = launchers.map(launcher => ({ launcher, samples: [] as Sample[] }));
  // What launchers and scripts leave there goes with it.
  const folder = mkdtempSync(join(tmpdir(), 'regroup-bench-'));
  const env = { ...given, TMPDIR: folder };
  try {
    for (let turn = 0; turn < options.kills; turn++) {
      for (const { launcher, samples } of measured) {
        const turnOf = createTurn(
          options,
          launcher,
          // Others have no agent that keeps them from workers.
          launcher.isOurs ? env : withoutSecrets(env),
          signal,
        );
        try {
          await turnOf.begin();
          onBegun(launcher, turn);
          for (const kind of options.kinds) {
            const sample = await turnOf.kill(kind);
            samples.push(sample);
            onSample(launcher, sample);
          }
        } finally {
          await turnOf.end();
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  signal.throwIfAborted();
  return measured;
}

function createTurn(
  { kinds, step, afterMs, timeoutMs, args }: BenchOptions,
  { command, isOurs }: Launcher,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
) {
  const argv = [...command, `--max-restarts=${kinds.length + spareRestarts}`, ...args];
  let job: BenchJob | undefined;
  /** Standbys that were there at the kill before, and so have taken a round over since. */
  let parked: readonly Ranked[] = [];
  /** Restarts whose own line is yet to come: their scripts use the store later, or never. */
  let owed = 0;
  /** What the restart that's measured has told of itself. */
  let phases: RestartPhases | undefined;

  /** Starts the job, and waits for its first step, or for a worker where no pattern tells of one. */
  async function begin(): Promise<number> {
    const begun = await startJob(argv, env, hear, signal);
    job = begun;
    parked = [];
    owed = 0;
    if (step === undefined) return await untilRanked(begun);
    return await begun.until(line => step.test(line), `line like ${step}`, timeoutMs);
  }

  async function untilRanked(begun: BenchJob): Promise<number> {
    const untilMs = performance.now() + timeoutMs;
    while (workersOf(begun.ranked()).length === 0) {
      if (performance.now() > untilMs) throw begun.problem(`no worker in ${timeoutMs} ms`);
      await begun.runFor(lookMs, 'a worker has started');
    }
    return performance.now();
  }

  function hear(line: string): void {
    const told = isOurs ? parseRestarted(line) : undefined;
    if (told === undefined) return;
    if (owed > 0) owed -= 1;
    // Without a script phase its round was over before; what's measured is the one after.
    else if (told.script !== undefined) phases ??= told;
  }

  function workersOf(ranked: readonly Ranked[]): readonly Ranked[] {
    return ranked.filter(each => !each.isStandby || parked.some(({ pid }) => pid === each.pid));
  }

  async function killWorker(kind: Exclude<KillKind, 'agent'>, running: BenchJob): Promise<Sample> {
    const ranked = running.ranked();
    const olds = workersOf(ranked);
    const victim = olds[Math.floor(Math.random() * olds.length)];
    if (victim === undefined) throw running.problem('no worker is left to kill');
    phases = undefined;
    parked = ranked.filter(({ isStandby }) => isStandby);
    const isNext = watchRounds(olds, timeoutMs, () => workersOf(running.ranked()));
    let stepLine: string | undefined;
    const isStep = (line: string): boolean => {
      if (step?.test(line) === true && isNext()) stepLine = line;
      return stepLine !== undefined;
    };
    const told = (): RestartPhases | undefined => phases;
    const isTold = (): boolean => told() !== undefined;
    const killedAtMs = performance.now();
    killAll([victim], signalOf(kind));
    const atMs = await (step === undefined
      ? running.until(isTold, 'restart whose script uses its store', timeoutMs)
      : running.until(isStep, `line like ${step} of another round`, timeoutMs));
    if (isOurs && !isTold())
      await running.until(isTold, 'restart', lineMs).catch(error => {
        if (!(error instanceof BenchError)) throw error;
        owed += 1; // and there are no phases
      });
    const own = told();
    const sum = Object.values(own ?? {}).reduce((total, ms) => total + ms, 0);
    const totalMs = step === undefined ? sum : atMs - killedAtMs;
    return {
      kind,
      totalMs,
      ...(stepLine === undefined ? {} : { line: stepLine }),
      ...(own === undefined ? {} : { phases: own }),
    };
  }

  /** As a scheduler does that starts the command again once nothing of it is left. */
  async function killAgent(running: BenchJob): Promise<Sample> {
    const { atMs: killedAtMs, left } = running.killLauncher();
    const alive = await allGone(left, leftMs);
    killAll(alive);
    await running.end();
    const atMs = await begin();
    const count = alive.length === 0 ? {} : { left: alive.length };
    return { kind: 'agent', totalMs: atMs - killedAtMs, ...count };
  }

  return {
    begin,
    async kill(kind: KillKind): Promise<Sample> {
      if (job === undefined) await begin();
      const running = job;
      if (running === undefined) throw new Error('the job has not begun');
      try {
        await running.runFor(afterMs + Math.random() * phaseMs, 'the kill');
        return await (kind === 'agent' ? killAgent(running) : killWorker(kind, running));
      } catch (error) {
        if (!(error instanceof BenchError)) throw error;
        signal.throwIfAborted();
        // That a restart fails is a result. The next kill is of another job.
        await job?.end();
        job = undefined;
        return { kind, problem: error.message };
      }
    },
    async end(): Promise<void> {
      await job?.end();
    },
  };
}

/** Tells whether a line that comes now is another round's: what the killed one wrote may be read after its end. */
function watchRounds(
  olds: readonly Ranked[],
  limitMs: number,
  workers: () => readonly Ranked[],
): () => boolean {
  let isRead = false;
  let isNext = false;
  void allGone(olds, limitMs).then(async left => {
    // Between two of these the loop reads all that was in the pipes at the first.
    await setImmediate();
    await setImmediate();
    isRead = left.length === 0;
  });
  return () => {
    isNext ||= isRead && workers().some(each => !olds.some(old => old.pid === each.pid));
    return isNext;
  };
}

function signalOf(kind: Exclude<KillKind, 'agent'>): NodeJS.Signals {
  switch (kind) {
    case 'sigkill':
      return 'SIGKILL';
    case 'sigsegv':
      return 'SIGSEGV';
    case 'exit':
      // Python leaves as it does at any exception that nobody catches.
      return 'SIGINT';
    default:
      return unreachable(kind);
  }
}
