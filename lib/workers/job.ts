import { resolve } from 'node:path';
import { valueError } from '../errors.js';
import { type LogBase, logBase, type WorkerFiles } from '../logs/layout.js';
import { anyRedirected, streamsOf } from '../logs/streams.js';
import type { TopologySource } from '../machine/source.js';
import type { NativePlan } from '../native/plan.js';
import { watchesOutput } from '../options/hangs.js';
import type { Settings } from '../options/launch-options.js';
import { recordsInLogs } from '../options/observe/events.js';
import { agentServes } from '../options/store.js';
import type { Placed } from '../placement/place.js';
import { awaitsGpus, type Placing, placingOf, type ToPlace } from '../placement/placing.js';
import type { Binding } from '../placement/policy.js';
import type { RoundPlan } from '../rendezvous/rendezvous.js';
import { randomUuid } from '../util/random.js';
import { safeSubstitute } from '../util/template.js';
import { localWorldSizeOf } from './count.js';
import { argvOf, type Command, commandOf } from './entrypoint.js';
import { type Env, inheritedEntries, type Round, workerEnv } from './env.js';
import { limitFields } from './limits.js';
import { findPython, type ProgramSource, type Python } from './python.js';
import type { ReturnGate } from './return-gate.js';
import { type ScriptProblem, type ScriptSource, scriptProblem } from './script.js';

/** What this node runs, in every round: options with all that depends on the machine decided. */
export interface Job {
  readonly settings: Settings;
  readonly command: Command;
  /** Interpreter of the workers; absent: they're programs. */
  readonly python: Python | undefined;
  /** Why no worker can run the script; absent: one may be able to. */
  readonly scriptProblem: ScriptProblem | undefined;
  readonly localWorldSize: number;
  readonly runId: string;
  /** What workers inherit. */
  readonly env: Env;
  readonly cwd: string | undefined;
  readonly signalTarget: 'leader' | 'group';
  /** Whether the agent serves the workers' store; else rank 0 does. */
  readonly agentStore: boolean;
  /** Where workers run; absent: `placeLater` tells it, once the GPUs have been learned. */
  readonly placing: Placing | undefined;
  /** @throws ERR_PLACEMENT, ERR_VISIBLE_DEVICES */
  placeLater(): Placing;
  readonly logs: LogBase;
  /** The pipe at which workers' timers are served; absent: they aren't. */
  readonly timerFile: string | undefined;
  /** Whether some stream of some worker ends up in a file. */
  readonly redirected: boolean;
}

/** What deciding needs of the machine and of this process. */
export interface Surroundings {
  readonly env: Env;
  /** Working directory of this process; absent: there's none. */
  readonly cwd: string | undefined;
  readonly devices: TopologySource;
  /** @param path PATH of the workers */
  programsOf(path: string | undefined): ProgramSource & ScriptSource;
  runPathShim(): string;
  hostname(): string;
}

/**
 * Decides a job on this machine.
 *
 * @throws ERR_NPROC, ERR_NO_DEVICES, ERR_OPTION, ERR_NO_PYTHON, ERR_PLACEMENT, ERR_VISIBLE_DEVICES, ERR_LOG_DIR
 */
export function jobOf(settings: Settings, around: Surroundings): Job {
  const { entrypoint } = settings;
  const env = settings.env ?? around.env;
  const cwd = settings.cwd ?? around.cwd;
  const isProgram = 'program' in entrypoint;
  const programs = around.programsOf(env.PATH);
  const python = isProgram ? undefined : pythonOf(settings.python, env, cwd, programs);
  const logs = logBase(settings.logDir, around.cwd, around.env);
  if (logs.kind === 'none' && watchesOutput(settings.hang)) {
    const accepted = 'a folder: rules about output look at the log files';
    throw valueError('logDir', settings.logDir, accepted);
  }
  if (logs.kind === 'none' && recordsInLogs(settings)) {
    const accepted = 'a folder: records of events go there';
    throw valueError('logDir', settings.logDir, accepted);
  }
  const localWorldSize = localWorldSizeOf(settings.nprocPerNode, env, around.devices);
  const toPlace: ToPlace = { localWorldSize, env, devices: around.devices };
  return {
    settings,
    command: commandOf(entrypoint, {
      args: settings.args,
      python,
      passLocalRankArg: settings.passLocalRankArg,
      shim: around.runPathShim,
    }),
    python,
    scriptProblem: python && scriptProblemOf(settings, python, cwd, programs),
    localWorldSize,
    runId: settings.runId ?? randomUuid(),
    env,
    cwd: settings.cwd,
    // A shell doesn't pass signals on; a Python trainer's data loaders must outlive its last save.
    signalTarget: settings.signalTarget ?? (isProgram ? 'group' : 'leader'),
    agentStore: agentServes(settings.agentStore, env),
    placing: awaitsGpus(settings, toPlace) ? undefined : placingOf(settings, toPlace),
    placeLater: () => placingOf(settings, toPlace),
    logs,
    timerFile: timerFileOf(settings, around),
    redirected: anyRedirected(settings, localWorldSize),
  };
}

function pythonOf(
  given: string | undefined,
  env: Env,
  cwd: string | undefined,
  programs: ProgramSource,
): Python | undefined {
  if (given !== undefined) return { path: given, isInterpreter: true, because: 'python' };
  return findPython(env, cwd, programs);
}

/** @source pytorch v2.13.0, torch/distributed/elastic/agent/server/local_elastic_agent.py, _setup_local_watchdog */
function timerFileOf({ fileTimers }: Settings, { env, cwd }: Surroundings): string | undefined {
  if (fileTimers === undefined) return undefined;
  const temp = env.TMPDIR || env.TEMP || env.TMP || '/tmp';
  return resolve(cwd ?? '/', fileTimers.path ?? `${temp}/watchdog_timer_${randomUuid()}`);
}

/** A hook may still make the script, and an interpreter that's a script may run elsewhere: in a container. Shims don't. */
function scriptProblemOf(
  { entrypoint, args, hooks }: Settings,
  python: Python,
  cwd: string | undefined,
  programs: ProgramSource & ScriptSource,
): ScriptProblem | undefined {
  if (hooks?.preStart !== undefined) return undefined;
  const problem = scriptProblem(entrypoint, args, cwd, programs);
  if (problem === undefined) return undefined;
  const file = python.path.includes('/') ? python.path : programs.find(python.path);
  if (file === undefined) return undefined;
  return programs.isBinary(file) || isShim(file) ? problem : undefined;
}

/** pyenv's, asdf's and their like, which choose among the interpreters of this machine. */
function isShim(file: string): boolean {
  return file.includes('/shims/');
}

/** The numbers of one round that this node's workers are told. */
export function roundOf(
  job: Job,
  round: RoundPlan & {
    readonly masterAddr: string;
    readonly masterPort: number;
    readonly local: string | undefined;
    readonly cookie: string;
    readonly gate?: ReturnGate | undefined;
  },
): Round {
  const { place, master, ...numbers } = round;
  const { firstRank, worldSize } = place;
  return {
    ...numbers,
    ...place,
    maxRestarts: job.settings.maxRestarts,
    runId: job.runId,
    role: job.settings.role,
    localWorldSize: job.localWorldSize,
    // All nodes have one role.
    firstRoleRank: firstRank,
    roleWorldSize: worldSize,
    agentStore: job.agentStore && master?.isWorkers !== true,
  };
}

/** What a round's workers find on this machine. */
export interface OnMachine {
  readonly placing: Placing;
  /** Files of each worker, by local rank; absent where logging is off. */
  readonly files: readonly WorkerFiles[] | undefined;
  hostname(): string;
}

/**
 * What each worker of a round is started with, by local rank.
 *
 * @throws ERR_VISIBLE_DEVICES
 */
export function workerPlans(
  job: Job,
  round: Round,
  { placing, files, hostname }: OnMachine,
): NativePlan[] {
  const { settings, command } = job;
  const output = { ...settings, watched: watchesOutput(settings.hang) };
  const prefixOf = linePrefixes(settings.logLinePrefixTemplate, round, hostname);
  let inherited: string[] | undefined;
  return Array.from({ length: job.localWorldSize }, (_, localRank) => {
    const own = workerEnv(round, localRank, {
      inherited: job.env,
      errorFile: files?.[localRank]?.errorFile,
      virtualLocalRank: settings.virtualLocalRank,
      timerFile: job.timerFile,
      placed: placing.env[localRank],
    });
    // The names are the same for all, so what's inherited is too; save where some aren't bound.
    if (placing.env.length > 0 || inherited === undefined)
      inherited = inheritedEntries(job.env, own);
    const binding = placing.placed?.bindings[localRank];
    return {
      file: command.file,
      argv: argvOf(command, localRank),
      env: [...inherited, ...Object.entries(own).map(([name, value]) => `${name}=${value}`)],
      ...(job.cwd === undefined ? {} : { cwd: job.cwd }),
      ...limitFields(settings),
      ...(binding === undefined ? {} : boundTo(binding, placing.placed)),
      stdin: settings.stdin,
      ...streamsOf(output, { localRank, prefix: prefixOf(localRank), files: files?.[localRank] }),
    };
  });
}

function boundTo(
  { cpus, memory }: Binding,
  placed: Placed | undefined,
): Pick<NativePlan, 'cpus' | 'memoryPolicy' | 'optionalCpus' | 'optionalMemoryPolicy'> {
  return {
    cpus,
    ...(memory === undefined ? {} : { memoryPolicy: memory }),
    optionalCpus: placed?.optionalCpus ?? false,
    optionalMemoryPolicy: placed?.optionalMemory ?? false,
  };
}

/** @param hostname asked for only by templates that name it */
function linePrefixes(
  template: string,
  round: Round,
  hostname: () => string,
): (localRank: number) => string {
  const host = template.includes('hostname') ? hostname() : '';
  return localRank =>
    safeSubstitute(template, {
      role_name: round.role,
      rank: String(round.firstRank + localRank),
      local_rank: String(localRank),
      hostname: host,
    });
}
