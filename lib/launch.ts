import { accessSync, constants, statSync } from 'node:fs';
import { createAgent } from './agent/agent.js';
import { type Job, jobOf, roundOf, type Surroundings, workerPlans } from './agent/job.js';
import { workerEnv } from './agent/worker-env.js';
import { launchError } from './errors.js';
import type { AgentEvent, RunResult } from './events.js';
import { attemptFolder, plannedRunFolder, workerFiles } from './logs/layout.js';
import { loadedNative, type NativeStart, type NativeStream, native } from './native.js';
import { type LaunchOptions, withDefaults } from './options.js';
import { workerGpus } from './placement/gpus.js';
import { describeBinding } from './placement/place.js';
import type { Binding } from './placement/policy.js';
import { thisMachine } from './placement/this-machine.js';
import { runPathShim } from './preload/preload.js';
import { onDisk } from './util/bytes.js';
import { exactCwd, exactEnv } from './util/exact.js';
import { hostname } from './util/hostname.js';
import { signalNumber } from './util/signals.js';

export interface Run extends AsyncDisposable {
  /**
   * Settles when the last worker is reaped and its output written. Rejects only if the agent fails:
   * ERR_SPAWN, ERR_NO_PROGRAM, ERR_LOG_DIR, ERR_PORT, ERR_HOOK, ERR_VISIBLE_DEVICES, ERR_NATIVE_MISSING,
   * ERR_INTERNAL. A rejection that nobody awaits is no unhandled one.
   */
  readonly result: Promise<RunResult>;
  /**
   * From now on, so that a call right after `launch` misses nothing. A slow reader loses output
   * events (`output-trouble`, beyond 256), never state events. Ends with `ended`, or without it if
   * the agent fails.
   */
  events(): AsyncIterable<AgentEvent>;
  /**
   * Resolves when no worker is left. Idempotent: without a signal, a later call only waits.
   *
   * @param signal for the workers. A later call that names one means that the user won't wait:
   *   what's left is killed at once, unless it's the same signal within 100 ms, which is
   *   one signal delivered twice. Nothing ever prolongs the grace period. @default 'SIGTERM'
   * @throws ERR_OPTION
   */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /**
   * This machine will soon be taken away: every worker gets `preemptSignal`, and the store's notice
   * word says *checkpoint now*. From then on no failure costs a restart; the run ends when its workers
   * have. A later call changes nothing.
   */
  preempt(by?: 'signal' | 'caller'): void;
  /**
   * Passes a signal on to the live workers. It ends nothing.
   *
   * @throws ERR_OPTION
   */
  forward(signal: NodeJS.Signals): void;
  readonly description: RunDescription;
}

/** What's run, in the words of torchrun's report. */
export interface RunDescription {
  /** The script, module or program: `NAME FAILED`. */
  readonly name: string;
  /** The command's file: `of binary: …`. */
  readonly binary: string;
  readonly isFunction: boolean;
  readonly runId: string;
  readonly localWorldSize: number;
  /** CPUs and memory of each local rank, for people; absent: nobody asked for a binding. */
  readonly bindings?: readonly string[];
  /** Folder of logs and error files; absent where logging is off and before the workers' start. */
  readonly runFolder?: string;
}

/** What `launch` would do with the same options. */
export interface LaunchPlan extends RunDescription {
  readonly worldSize: number;
  readonly masterAddr: string;
  /** 0: the kernel chooses a free one at the start. */
  readonly masterPort: number;
  /** Whether the agent serves the store there; else rank 0 does. */
  readonly agentStore: boolean;
  readonly maxRestarts: number;
  readonly shutdownTimeoutMs: number;
  readonly signalTarget: 'leader' | 'group';
  readonly cwd: string;
  readonly stdin: 'inherit' | 'null';
  readonly workers: readonly WorkerPlan[];
}

export interface WorkerPlan {
  readonly rank: number;
  readonly localRank: number;
  readonly argv: readonly string[];
  /** What's set for this worker, on top of what it inherits. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
  /** CPUs and memory, for people; absent: not bound. */
  readonly binding?: string;
  /** The same, for programs. */
  readonly placement?: Binding;
  /** UUID of its GPU, else its PCI address; absent where it has none or nobody knows. */
  readonly gpu?: string;
  readonly errorFile?: string;
}

/**
 * Starts the workers and sees them through.
 *
 * Nothing of the host process changes: no signal handler, no child handling, no environment. An
 * `exit` listener is there while workers are, so that `process.exit()` leaves none behind.
 *
 * @throws ERR_OPTION, ERR_NPROC, ERR_NO_DEVICES, ERR_NO_PYTHON, ERR_PLACEMENT, ERR_PLATFORM
 */
export function launch(options: LaunchOptions): Run {
  if (process.platform !== 'linux') {
    throw launchError('ERR_PLATFORM', [
      `regroup runs on Linux only, and this is ${process.platform}`,
    ]);
  }
  const job = jobOf(withDefaults(options), surroundings());
  const agent = createAgent(job);

  const abort = (): void => agent.stop('caller');
  const { signal } = job.settings;
  const forget = (): void => signal?.removeEventListener('abort', abort);
  // Both ways: this also marks a rejection as handled, for those who only read events.
  agent.result.then(forget, forget);
  if (signal?.aborted) {
    abort();
  } else {
    agent.launch();
    signal?.addEventListener('abort', abort);
  }

  const stop = async (name?: NodeJS.Signals): Promise<void> => {
    if (name !== undefined) checkSignal('stop', name);
    agent.stop(name === undefined ? 'caller' : 'signal', name);
    // Whether it failed is for those who await the result.
    await agent.result.catch(() => undefined);
  };

  return {
    result: agent.result,
    events: agent.events,
    stop,
    preempt: (by = 'caller') => agent.preempt(by),
    forward(name) {
      checkSignal('forward', name);
      agent.forward(name);
    },
    get description() {
      return describe(job, agent.runFolder());
    },
    [Symbol.asyncDispose]: () => stop(),
  };
}

/**
 * What `launch` would do, without starting or creating anything. Names that chance decides at the
 * start have `XXXXXXXX` in their place, and a port that the kernel chooses is 0.
 *
 * @throws as `launch`, and ERR_VISIBLE_DEVICES
 */
export function plan(options: LaunchOptions): LaunchPlan {
  const job = jobOf(withDefaults(options), surroundings());
  const { settings, localWorldSize } = job;
  const runFolder = plannedRunFolder(job.logs, job.runId);
  const files =
    runFolder === undefined
      ? undefined
      : Array.from({ length: localWorldSize }, (_, localRank) =>
          workerFiles(attemptFolder(runFolder, 0), localRank),
        );
  const gpus = workerGpus(job.env, thisMachine);
  const { masterPort } = settings;
  const round = roundOf(job, {
    round: 0,
    restartCount: 0,
    masterPort,
    local: '@regroup-store-XXXXXXXX',
    cookie: 'XXXXXXXX',
  });
  return {
    ...describe(job, runFolder),
    worldSize: round.worldSize,
    masterAddr: settings.masterAddr,
    masterPort,
    agentStore: job.agentStore,
    maxRestarts: settings.maxRestarts,
    shutdownTimeoutMs: settings.shutdownTimeoutMs,
    signalTarget: job.signalTarget,
    cwd: job.cwd ?? exactCwd(),
    stdin: settings.stdin,
    workers: workerPlans(job, round, files, hostname).map(({ argv, stdout, stderr }, localRank) => {
      const errorFile = files?.[localRank]?.errorFile;
      const binding = job.placed?.bindings[localRank];
      const gpu = gpus[localRank];
      return {
        rank: round.baseRank + localRank,
        localRank,
        argv,
        env: workerEnv(round, localRank, {
          inherited: job.env,
          errorFile,
          virtualLocalRank: settings.virtualLocalRank,
          placed: job.placedEnv[localRank],
        }),
        stdout,
        stderr,
        ...(binding === undefined ? {} : { binding: describeBinding(binding), placement: binding }),
        ...(gpu === undefined ? {} : { gpu: gpu.uuid || gpu.pci }),
        ...(errorFile === undefined ? {} : { errorFile }),
      };
    }),
  };
}

/** What a command's process was started with and Node has changed since. */
export type StartedWith = NativeStart;

/**
 * Lets workers start with it, as if Node hadn't changed it. For our commands only: it's the process's, not a run's.
 *
 * @throws ERR_NATIVE_MISSING
 */
export function startedWith(start: StartedWith): void {
  native().startedWith(start);
}

/**
 * Ends the process without Node's tear-down; its `exit` listeners don't run. For our commands only,
 * when a run is over. Returns if the addon hasn't been needed: then Node ends soon by itself.
 */
export function exitNow(code: number): void {
  loadedNative()?.exitNow(code);
}

function checkSignal(what: string, name: string): void {
  if (signalNumber(name) !== undefined) return;
  throw launchError('ERR_OPTION', [what, name, 'the name of a signal, like SIGTERM']);
}

function describe(job: Job, runFolder: string | undefined): RunDescription {
  const { command, runId, localWorldSize, placed } = job;
  const binding = (_: unknown, localRank: number): string => {
    const own = placed?.bindings[localRank];
    return own === undefined ? 'not bound' : describeBinding(own);
  };
  return {
    name: command.name,
    binary: command.isFunction ? command.name : command.file,
    isFunction: command.isFunction,
    runId,
    localWorldSize,
    ...(placed === undefined ? {} : { bindings: Array.from({ length: localWorldSize }, binding) }),
    ...(runFolder === undefined ? {} : { runFolder }),
  };
}

function surroundings(): Surroundings {
  return {
    env: exactEnv(),
    cwd: exactCwd(),
    devices: thisMachine,
    isExecutable,
    runPathShim,
    hostname,
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(onDisk(path), constants.X_OK);
    return statSync(onDisk(path)).isFile();
  } catch {
    // Not there, or not for us: either way it isn't what we'd run.
    return false;
  }
}
