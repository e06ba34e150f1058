import { createAgent } from './agent/agent.js';
import { policyOf } from './agent/policy.js';
import { graceOf } from './agent/step/stopping.js';
import { launchError } from './errors.js';
import type { AgentEvent, RunResult } from './events.js';
import { workerGpus } from './gpu/present.js';
import { attemptFolder, plannedRunFolder, workerFiles } from './logs/layout.js';
import { fileOf, streamsOf } from './logs/streams.js';
import type { MachineOverview } from './machine/overview.js';
import { learnGpus, thisMachine } from './machine/this-machine.js';
import { native } from './native/addon.js';
import type { NativeStream } from './native/plan.js';
import { recorderOf } from './observe/observe.js';
import { problemOf, signalName } from './options/checks.js';
import { type LaunchOptions, withDefaults } from './options/launch-options.js';
import { type GraceReason, graceReasons } from './options/stopping.js';
import { withoutSecrets } from './options/token.js';
import { describeBinding } from './placement/place.js';
import type { Placing } from './placement/placing.js';
import type { Binding } from './placement/policy.js';
import { runPathShim } from './preload/preload.js';
import { wholeJob } from './rendezvous/alone.js';
import { exactCwd, exactEnv } from './system/exact.js';
import { hostname } from './system/hostname.js';
import { workerEnv } from './workers/env.js';
import { type Job, jobOf, roundOf, type Surroundings, workerPlans } from './workers/job.js';
import { programsOf } from './workers/programs.js';
import { guessedPython } from './workers/python.js';
import type { ScriptProblem } from './workers/script.js';

export interface Run extends AsyncDisposable {
  /**
   * Settles when the last worker is reaped and its output written: to its files, and to stdout and stderr as long as
   * they take some of it now and then (5 s). Rejects only if the agent fails: ERR_SPAWN, ERR_START_HANGS,
   * ERR_NO_PROGRAM, ERR_LOG_DIR, ERR_PORT, ERR_HOOK, ERR_PLACEMENT, ERR_VISIBLE_DEVICES, ERR_NATIVE_MISSING,
   * ERR_INTERNAL. A rejection that nobody awaits is no unhandled one.
   */
  readonly result: Promise<RunResult>;
  /**
   * From now on, so that a call right after `launch` misses nothing. A slow reader loses output
   * events (`output-trouble`, beyond 256), never state events. Ends with `ended`, behind which only `events-trouble` may
   * come, or without it if the agent fails.
   */
  events(): AsyncIterable<AgentEvent>;
  /**
   * Resolves when no worker is left. Idempotent: without a signal, a later call only waits. One that comes when all
   * have ended makes `result` wait no longer for whoever reads their output.
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
   * Passes a signal on to the live workers, whatever it does to them. Without any, before the start and after the end,
   * it does nothing.
   *
   * @throws ERR_OPTION
   */
  forward(signal: NodeJS.Signals): void;
  readonly description: RunDescription;
  /**
   * Where to find what a worker has written. `restartCount` is its round's, as `round-started` tells it.
   *
   * @returns undefined where no output goes to files that outlive the run
   */
  logFiles(worker: LoggedWorker): LogFiles | undefined;
}

export interface LoggedWorker {
  readonly restartCount: number;
  readonly localRank: number;
}

/** Paths; absent streams went elsewhere. */
export interface LogFiles {
  /** Folder of the whole run. */
  readonly folder: string;
  readonly stdout?: string;
  readonly stderr?: string;
}

/** What's run, in the words of torchrun's report. */
export interface RunDescription {
  /** The script, module or program: `NAME FAILED`. */
  readonly name: string;
  /** The command's file: `of binary: …`. */
  readonly binary: string;
  readonly isFunction: boolean;
  /** Interpreter of Python entrypoints. */
  readonly interpreter?: Interpreter;
  readonly runId: string;
  readonly localWorldSize: number;
  /**
   * CPUs and memory of each local rank, for people; absent: nobody asked for a binding, or it's known at the
   * start only, when NVIDIA's library has told which GPUs workers see.
   */
  readonly bindings?: readonly string[];
  /** Folder of logs and error files; absent where logging is off and before the workers' start. */
  readonly runFolder?: string;
}

export interface Interpreter {
  readonly path: string;
  /** Why this one: `PYTHON_EXEC`, `VIRTUAL_ENV`, `./.venv`, `python3 on PATH`. */
  readonly because: string;
  /** Warning for people, where the interpreter is a guess, and PATH has another one. */
  readonly warning?: string;
}

/** What `launch` would do with the same options. */
export interface LaunchPlan extends RunDescription {
  /** What would end the run at its start, as things are. */
  readonly warnings: readonly string[];
  readonly worldSize: number;
  readonly masterAddr: string;
  /** 0: the kernel chooses a free one at the start. */
  readonly masterPort: number;
  /** Whether the agent serves the store there; else rank 0 does. */
  readonly agentStore: boolean;
  readonly maxRestarts: number;
  readonly shutdownTimeoutMs: number;
  /** Time from the stop signal to SIGKILL, by the reason of the stop. */
  readonly graceMs: Readonly<Record<GraceReason, number>>;
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
  /** CPUs and memory, for programs; absent: not bound. */
  readonly placement?: Binding;
  /** UUID of its GPU, else its PCI address; absent where it has none or nobody knows. */
  readonly gpu?: string;
  readonly errorFile?: string;
}

/**
 * Starts the workers and sees them through.
 *
 * A binding that depends on MIG devices which CUDA_VISIBLE_DEVICES names by UUID waits for NVIDIA's library, at most
 * five seconds. Then the start does, and ERR_PLACEMENT and ERR_VISIBLE_DEVICES reject `result`.
 *
 * Nothing of the host process changes: no signal handler, no child handling, no environment. An
 * `exit` listener is there while workers are, so that `process.exit()` leaves none behind.
 *
 * @throws ERR_OPTION, ERR_NPROC, ERR_NO_DEVICES, ERR_NO_PYTHON, ERR_NO_SCRIPT, ERR_PLACEMENT,
 *   ERR_VISIBLE_DEVICES, ERR_LOG_DIR, ERR_PLATFORM
 */
export function launch(options: LaunchOptions): Run {
  if (process.platform !== 'linux') {
    throw launchError('ERR_PLATFORM', [
      `regroup runs on Linux only, and this is ${process.platform}`,
    ]);
  }
  const job = jobOf(withDefaults(options), surroundings());
  if (job.scriptProblem !== undefined) throw scriptError(job.scriptProblem);
  const recorder = recorderOf(job, {
    cwd: ownFolder(),
    tell: event => agent.tell(event),
    folder: () => agent.makeRunFolder(),
    measure: () => agent.measure(),
    nowMs: () => native().monotonicMs(),
  });
  const agent = createAgent(job, recorder);

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
      return describe(job, agent.placing(), agent.runFolder());
    },
    logFiles: worker => logFilesOf(job, agent.runFolder(), worker),
    [Symbol.asyncDispose]: () => stop(),
  };
}

/**
 * What `launch` would do, without starting or creating anything. Names that chance decides at the
 * start have `XXXXXXXX` in their place, and a port that the kernel chooses is 0. It's told at once,
 * so NVIDIA's library isn't asked: what a run has learned of it before is known here.
 *
 * @throws as `launch`; but not ERR_NO_SCRIPT, which is among the warnings
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
  const placing = job.placing ?? job.placeLater();
  const gpus = workerGpus(job.env, thisMachine);
  const { masterAddr, masterPort } = settings;
  const round = roundOf(job, {
    round: 0,
    restartCount: 0,
    place: wholeJob(localWorldSize),
    masterAddr,
    masterPort,
    local: '@regroup-store-XXXXXXXX',
    cookie: 'XXXXXXXX',
  });
  return {
    ...describe(job, placing, runFolder),
    warnings: job.scriptProblem === undefined ? [] : [scriptError(job.scriptProblem).message],
    worldSize: round.worldSize,
    masterAddr,
    masterPort,
    agentStore: job.agentStore,
    maxRestarts: settings.maxRestarts,
    shutdownTimeoutMs: settings.shutdownTimeoutMs,
    graceMs: graceByReason(job),
    signalTarget: job.signalTarget,
    cwd: job.cwd ?? ownFolder() ?? '(deleted)',
    stdin: settings.stdin,
    workers: workerPlans(job, round, { placing, files, hostname }).map((worker, localRank) => {
      const { argv, stdout, stderr } = worker;
      const errorFile = files?.[localRank]?.errorFile;
      const binding = placing.placed?.bindings[localRank];
      const gpu = gpus[localRank];
      return {
        rank: round.firstRank + localRank,
        localRank,
        argv,
        env: workerEnv(round, localRank, {
          inherited: job.env,
          errorFile,
          virtualLocalRank: settings.virtualLocalRank,
          timerFile: job.timerFile,
          placed: placing.env[localRank],
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

/**
 * What this machine has, as far as this process may use it. A `plan` that follows knows the same of its GPUs.
 *
 * @param env whose devices are looked for: NVIDIA's library is asked where it names MIG devices by UUID. @default process.env
 * @throws ERR_NATIVE_MISSING
 */
export async function inspectMachine(
  env: Readonly<Record<string, string | undefined>> = exactEnv(),
): Promise<MachineOverview> {
  const { overviewOf } = await import('./machine/overview.js');
  await learnGpus(env);
  return overviewOf(thisMachine);
}

function checkSignal(what: string, name: string): void {
  if (signalName[0](name)) return;
  throw launchError('ERR_OPTION', [what, problemOf(signalName, name)]);
}

function logFilesOf(
  { settings, redirected }: Job,
  folder: string | undefined,
  { restartCount, localRank }: LoggedWorker,
): LogFiles | undefined {
  if (folder === undefined || !redirected) return undefined;
  const files = workerFiles(attemptFolder(folder, restartCount), localRank);
  const { stdout, stderr } = streamsOf(settings, { localRank, prefix: '', files });
  return { folder, ...pathOf('stdout', stdout), ...pathOf('stderr', stderr) };
}

function pathOf(name: 'stdout' | 'stderr', stream: NativeStream): Pick<LogFiles, typeof name> {
  const path = fileOf(stream);
  return path === undefined ? {} : { [name]: path };
}

function graceByReason({ settings }: Job): LaunchPlan['graceMs'] {
  const policy = policyOf(settings);
  const pairs = graceReasons.map(reason => [reason, graceOf(policy, reason)] as const);
  return Object.fromEntries(pairs) as LaunchPlan['graceMs']; // each reason has one
}

function scriptError({ what, path, hint }: ScriptProblem): Error {
  return launchError('ERR_NO_SCRIPT', [what, path, hint]);
}

function interpreterOf({ python }: Job): { readonly interpreter?: Interpreter } {
  if (python === undefined) return {};
  const { path, because } = python;
  const warning = guessedPython(python);
  return { interpreter: { path, because, ...(warning === undefined ? {} : { warning }) } };
}

function describe(
  job: Job,
  placing: Placing | undefined,
  runFolder: string | undefined,
): RunDescription {
  const { command, runId, localWorldSize } = job;
  const placed = placing?.placed;
  const binding = (_: unknown, localRank: number): string => {
    const own = placed?.bindings[localRank];
    return own === undefined ? 'not bound' : describeBinding(own);
  };
  return {
    name: command.name,
    binary: command.isFunction ? command.name : command.file,
    isFunction: command.isFunction,
    ...interpreterOf(job),
    runId,
    localWorldSize,
    ...(placed === undefined ? {} : { bindings: Array.from({ length: localWorldSize }, binding) }),
    ...(runFolder === undefined ? {} : { runFolder }),
  };
}

function surroundings(): Surroundings {
  return {
    env: withoutSecrets(exactEnv()),
    cwd: ownFolder(),
    devices: thisMachine,
    programsOf,
    runPathShim,
    hostname,
  };
}

/** Our working directory; absent where it has been removed, or isn't ours to see: programs run there all the same. */
function ownFolder(): string | undefined {
  try {
    return exactCwd();
  } catch {
    return undefined;
  }
}
