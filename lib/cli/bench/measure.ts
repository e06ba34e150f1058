import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RestartPhases } from '../../events/restarts.js';
import { unreachable } from '../../util/unreachable.js';
import { parseRestarted } from '../text/restarts.js';
import { allGone, BenchError, type BenchJob, killAll, startJob } from './job.js';
import type { BenchOptions, KillKind } from './options.js';
import { isAlive, type Ranked } from './processes.js';

/** One kill, and what followed. */
export interface Sample {
  readonly kind: KillKind;
  /** Milliseconds from the kill to the first step of the next round; without a pattern what the restart's own line says. */
  readonly totalMs?: number;
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
 * @throws BenchError; the signal's reason
 */
export async function measure(
  options: BenchOptions,
  launchers: readonly Launcher[],
  { signal, onBegun, onSample }: Listeners,
): Promise<Measured[]> {
  const measured = launchers.map(launcher => ({ launcher, samples: [] as Sample[] }));
  // What launchers and scripts leave there goes with it.
  const folder = mkdtempSync(join(tmpdir(), 'regroup-bench-'));
  const env = { ...process.env, TMPDIR: folder };
  try {
    for (let turn = 0; turn < options.kills; turn++) {
      for (const { launcher, samples } of measured) {
        const turnOf = createTurn(options, launcher, env, signal);
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
  /** Workers of the present round; standbys are none of them before they have taken a round over. */
  let workers: readonly Ranked[] = [];

  /** Starts the job, and waits for its first step, or for its workers where no pattern tells of one. */
  async function begin(): Promise<number> {
    const begun = await startJob(argv, env, signal);
    job = begun;
    const first = step && begun.until(line => step.test(line), `line like ${step}`, timeoutMs);
    const atMs = first === undefined ? await untilRanked(begun) : await first;
    workers = begun.ranked().filter(({ isStandby }) => !isStandby);
    return atMs;
  }

  async function untilRanked(begun: BenchJob): Promise<number> {
    while (begun.ranked().length === 0) {
      // It tells when the job ends without any.
      await begun
        .until(() => false, 'worker', lookMs)
        .catch(error => {
          if (/ has ended /.test(error.message) || signal.aborted) throw error;
        });
    }
    return performance.now();
  }

  async function killWorker(kind: Exclude<KillKind, 'agent'>, running: BenchJob): Promise<Sample> {
    const ranked = running.ranked();
    const olds = workers.filter(isAlive);
    const victim = olds[Math.floor(Math.random() * olds.length)];
    if (victim === undefined) throw running.problem('no worker is left to kill');
    let phases: RestartPhases | undefined;
    // Without a script phase it may be the restart before, which is told when its round ends.
    const isRestart = (line: string): boolean => {
      const told = isOurs ? parseRestarted(line) : undefined;
      if (told?.script !== undefined) phases ??= told;
      return phases !== undefined;
    };
    // Lines of the round before may be under way still. Our own line may come first.
    const isStep = (line: string): boolean => {
      if (phases === undefined && isRestart(line)) return false;
      return step?.test(line) === true && !olds.some(isAlive);
    };
    const killedAtMs = performance.now();
    killAll([victim], signalOf(kind));
    const atMs = await (step === undefined
      ? running.until(isRestart, 'restart whose script uses its store', timeoutMs)
      : running.until(isStep, `line like ${step} of another round`, timeoutMs));
    if (isOurs && phases === undefined)
      await running.until(isRestart, 'restart', lineMs).catch(() => {}); // then there are no phases
    workers = running
      .ranked()
      .filter(each => !each.isStandby || ranked.some(({ pid }) => pid === each.pid));
    const sum = Object.values(phases ?? {}).reduce((total, ms) => total + ms, 0);
    const totalMs = step === undefined ? sum : atMs - killedAtMs;
    return { kind, totalMs, ...(phases === undefined ? {} : { phases }) };
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
