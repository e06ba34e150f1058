import { launchError, valueError } from '../errors.js';
import { didYouMean } from '../util/nearest.js';
import {
  type Check,
  checkOf,
  flag,
  isRecord,
  isText,
  isWhole,
  milliseconds,
  oneOf,
  problemOf,
  secretTexts,
  text,
  texts,
} from './checks.js';
import { type ControlOptions, controlChecks, controlDefaults } from './control/control.js';
import { environment } from './environment.js';
import { type FailureOptions, failureChecks, failureDefaults } from './failures.js';
import { type HangOptions, hangCheck, type TimerOptions, timerChecks } from './hangs.js';
import { type HookOptions, hookChecks } from './hooks.js';
import { type LogOptions, logChecks, logDefaults } from './logs.js';
import { type GpuOptions, gpuChecks, gpuDefaults } from './machine/gpus.js';
import { type LimitOptions, limitChecks } from './machine/limits.js';
import { type PlacementOptions, placementChecks, placementDefaults } from './machine/placement.js';
import { type NodesOptions, nodesChecks, nodesDefaults, nodesTogether } from './nodes.js';
import { type EventOptions, eventChecks, eventDefaults } from './observe/events.js';
import { type MetricsOptions, metricsChecks } from './observe/metrics.js';
import { type PreemptionOptions, preemptionChecks, preemptionDefaults } from './preemption.js';
import {
  type StandbyOptions,
  standbyChecks,
  standbyDefaults,
  standbysTogether,
} from './standby.js';
import { type StoppingOptions, stoppingChecks, stoppingDefaults } from './stopping.js';
import { type StoreOptions, storeChecks, storeDefaults } from './store.js';
import { type TidyUpOptions, tidyUpChecks, tidyUpDefaults } from './tidy-up.js';

/** What a worker runs. */
export type Entrypoint =
  /** `python -u script args…` */
  | { readonly script: string }
  /** `python -u -m module args…` */
  | { readonly module: string }
  /** The program itself, looked up on PATH; no shell. */
  | { readonly program: string }
  /** The script as a function entrypoint: `runpy.run_path` as `__main__`. */
  | { readonly runPath: string };

/**
 * All that `launch` can be told. Flat and readonly; every field but `entrypoint` has a default,
 * written beside it. In texts that workers get and in paths, a surrogate without its other half,
 * U+DC80 to U+DCFF, is the byte that it ends with, for what isn't UTF-8.
 */
export interface LaunchOptions
  extends ControlOptions,
    EventOptions,
    FailureOptions,
    PreemptionOptions,
    GpuOptions,
    HookOptions,
    LimitOptions,
    LogOptions,
    MetricsOptions,
    NodesOptions,
    PlacementOptions,
    StandbyOptions,
    StoppingOptions,
    StoreOptions,
    TidyUpOptions,
    TimerOptions {
  readonly entrypoint: Entrypoint;
  /** Arguments of the entrypoint. `${local_rank}`, `$local_rank` and `$$` are replaced in each. @default [] */
  readonly args?: readonly string[];
  /** Workers on this node: a number from 1, or `auto`, `cpu`, `gpu`, `xpu`. @default 1 */
  readonly nprocPerNode?: number | 'auto' | 'cpu' | 'gpu' | 'xpu';
  /** Failures of the job that are answered by a new round. @default 0 */
  readonly maxRestarts?: number;
  /** Free text, for ROLE_NAME and line prefixes. @default 'default' */
  readonly role?: string;
  /** TORCHELASTIC_RUN_ID; the same on all nodes. @default a random UUID, for one node */
  readonly runId?: string;
  /** Address that workers meet at, or a name for it, which is looked up at the start. @default '127.0.0.1' */
  readonly masterAddr?: string;
  /** Port that workers meet at; the same in every round. @default 0: chosen by the kernel, anew each round */
  readonly masterPort?: number;
  /** The interpreter of Python entrypoints. @default findPython(): PYTHON_EXEC, REGROUP_PYTHON, the active virtualenv or conda, ./.venv, python3 on PATH */
  readonly python?: string;
  /** Environment that workers inherit. @default process.env, byte by byte, without REGROUP_TOKEN and REGROUP_ETCD_PASSWORD */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Working directory of workers. @default process.cwd() */
  readonly cwd?: string;
  /** stdin of every worker: our own, or /dev/null. @default 'inherit' */
  readonly stdin?: 'inherit' | 'null';
  /** Time from the stop signal to SIGKILL. @default 30_000 */
  readonly shutdownTimeoutMs?: number;
  /** When a job that still runs counts as hung, and what follows. @default never */
  readonly hang?: HangOptions;
  /** LOCAL_RANK is 0 for all, and each sees one device. @default false */
  readonly virtualLocalRank?: boolean;
  /** `--local-rank=<n>` behind the script, as torch.distributed.launch does. @default false */
  readonly passLocalRankArg?: boolean;
  /** How function entrypoints (`runPath`) start; named in the report. @default 'spawn' */
  readonly startMethod?: 'spawn' | 'fork' | 'forkserver';
  /**
   * File that's told of the root cause, as torchrun tells its own TORCHELASTIC_ERROR_FILE: the failed
   * worker's error file with `message.errorCode` added. @default none
   */
  readonly errorFile?: string;
  /** Features of the kernel to do without, as REGROUP_DISABLE. @default from the environment */
  readonly disable?: readonly string[];
  /** Aborting it is `stop()`. */
  readonly signal?: AbortSignal;
}

/** Options with their defaults; those whose default depends on the machine, or that have none, may be absent. */
export type Settings = Readonly<
  Required<Pick<LaunchOptions, keyof typeof defaults | 'maxNodes'>> &
    Omit<LaunchOptions, keyof typeof defaults | 'maxNodes'>
>;

const defaults = {
  args: [],
  nprocPerNode: 1,
  maxRestarts: 0,
  ...controlDefaults,
  ...eventDefaults,
  ...failureDefaults,
  role: 'default',
  masterAddr: '127.0.0.1',
  masterPort: 0,
  stdin: 'inherit',
  ...logDefaults,
  shutdownTimeoutMs: 30_000,
  virtualLocalRank: false,
  passLocalRankArg: false,
  startMethod: 'spawn',
  ...preemptionDefaults,
  ...gpuDefaults,
  ...stoppingDefaults,
  ...nodesDefaults,
  ...placementDefaults,
  ...standbyDefaults,
  ...storeDefaults,
  ...tidyUpDefaults,
} as const satisfies Partial<LaunchOptions>;

/**
 * Checks every option and fills in the defaults. Options that are `undefined` count as absent.
 *
 * @throws ERR_OPTION
 */
export function withDefaults(options: LaunchOptions): Settings {
  // Callers in JavaScript have no compiler that would have told them.
  if (!isRecord(options)) throw valueError('options', options, exampleOptions);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) check(name, value);
  check('entrypoint', options.entrypoint);

  // Every field has just been checked; without those that are undefined it's still LaunchOptions.
  const settings = { ...defaults, ...(Object.fromEntries(given) as unknown as LaunchOptions) };
  return { ...settings, ...nodesTogether(settings), ...standbysTogether(options) };
}

const exampleOptions = "an object, like { entrypoint: { script: 'train.py' } }";

function check(name: string, value: unknown): void {
  const found = checkOf(checks, name);
  if (found === undefined) {
    const meant = didYouMean(name, Object.keys(checks)) || '; LaunchOptions has them all';
    throw launchError('ERR_OPTION', [name, `there is no such option${meant}`]);
  }
  if (!found[0](value)) throw launchError('ERR_OPTION', [name, problemOf(found, value)]);
}

const checks: Readonly<Record<keyof LaunchOptions, Check>> = {
  entrypoint: [isEntrypoint, 'one of { script }, { module }, { program }, { runPath }'],
  args: secretTexts,
  nprocPerNode: [
    value => isWhole(value, 1, 100_000) || typeof value === 'string',
    "a whole number from 1, 'auto', 'cpu', 'gpu' or 'xpu'",
  ],
  maxRestarts: [value => isWhole(value, 0), 'a whole number from 0'],
  ...controlChecks,
  ...eventChecks,
  ...failureChecks,
  ...placementChecks,
  role: [isText, 'a text without NUL'],
  runId: text,
  masterAddr: text,
  masterPort: [value => isWhole(value, 0, 65_535), 'a port from 0 to 65535'],
  python: text,
  env: environment,
  cwd: text,
  stdin: oneOf('inherit', 'null'),
  ...logChecks,
  shutdownTimeoutMs: milliseconds,
  ...stoppingChecks,
  hang: hangCheck,
  virtualLocalRank: flag,
  passLocalRankArg: flag,
  startMethod: oneOf('spawn', 'fork', 'forkserver'),
  errorFile: text,
  disable: texts,
  ...preemptionChecks,
  ...gpuChecks,
  ...hookChecks,
  ...limitChecks,
  ...metricsChecks,
  ...nodesChecks,
  ...standbyChecks,
  ...storeChecks,
  ...tidyUpChecks,
  ...timerChecks,
  signal: [
    value => isRecord(value) && typeof value.addEventListener === 'function',
    'an AbortSignal',
  ],
};

function isEntrypoint(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const [kind, ...more] = Object.keys(value);
  return (
    more.length === 0 &&
    ['script', 'module', 'program', 'runPath'].includes(kind ?? '') &&
    text[0](value[kind as string]) // includes has just told
  );
}
