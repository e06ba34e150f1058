import type { Entrypoint, LaunchOptions } from '../../options/launch-options.js';
import type { Streams, StreamsByRank } from '../../options/logs.js';
import { withoutSecrets } from '../../options/token.js';
import { maxTimerMs } from '../../util/duration.js';
import { didYouMean } from '../../util/nearest.js';
import { badHealthPort } from '../options/control/control.js';
import { readFeatures } from '../options/own.js';
import { parseForwardSignals } from '../options/preemption.js';
import type { Scheduled } from '../options/scheduler.js';
import type { CommandName, Env, Values } from '../options/spec.js';
import { refusal } from './command-line-error.js';
import {
  checkBackend,
  type Meeting,
  masterOf,
  type NodeCounts,
  parseNodes,
  resolveEndpoints,
  resolveMeeting,
} from './meeting.js';
import { isHint, nodesOptions } from './nodes.js';
import { invalidInt, pythonInt, repr } from './python-text.js';
import { checkRdzvConf, describeConf, etcdAccessOf, parseRdzvConf, tokenOf } from './rdzv-conf.js';
import { type CliSettings, type Notice, parseLogLevel, parseSignals } from './settings.js';

/** A command line that starts something, or would. */
export interface LaunchCommand {
  readonly do: 'run' | 'dry-run';
  readonly options: LaunchOptions;
  readonly settings: CliSettings;
}

/**
 * From values to options, with torchrun's checks in torchrun's order. What one node can't give
 * yet is refused last, so that torchrun's own complaints come first.
 *
 * @throws CommandLineError
 */
export function resolve(
  command: CommandName,
  { values, source, notes }: Scheduled,
  env: Env,
): LaunchCommand {
  const notices: Notice[] = notes.map(text => ({ level: 'WARNING', text }));
  const warn = (text: string) => notices.push({ level: 'WARNING', text });
  const isLaunch = command === 'regroup-launch';
  if (isLaunch && values.flag('no_python') && !values.flag('use_env')) {
    const text = "When using the '--no-python' flag, you must also set the '--use-env' flag.";
    values.refuse('no_python', text, '--no-python together with --use-env');
  }

  const counts = parseNodes(values);
  const { isAlone } = counts;
  const meeting = resolveMeeting(values, counts);
  const maxRestarts = values.int('max_restarts') ?? 0;
  if (maxRestarts < 0)
    values.refuse('max_restarts', 'max_restarts must be >= 0', 'an integer from 0');
  if (meeting.backend !== 'static' && meeting.endpoint === '') {
    warn(
      'master_addr is only used for static rdzv_backend and when rdzv_endpoint is not specified.',
    );
  }
  const nodeRank = values.int('node_rank') ?? 0;
  const isUsed = meeting.backend === 'static' || (!isAlone && isHint(nodeRank));
  if (nodeRank !== 0 && !isUsed) {
    warn(
      'node_rank is only used for static rdzv_backend. ' +
        `It will be ignored for rdzv_backend=${meeting.backend}.`,
    );
  }

  const nprocPerNode = parseNproc(values);
  const rdzvConf = parseRdzvConf(values);
  const localRanksFilter = parseRanksFilter(values);
  const logsSpecs = values.text('logs_specs');
  // PyTorch registers one, which is what one gets without the option.
  if (logsSpecs !== undefined && logsSpecs !== 'default') {
    const text = `Could not find entrypoint under 'torchrun.logs_specs[${logsSpecs}]' key`;
    const accepted = 'default: plugins of torchrun are Python, and none can be loaded here';
    values.refuse('logs_specs', text, accepted);
  }
  const redirects = parseStreams(values, 'redirects');
  const tee = parseStreams(values, 'tee');
  const shutdownTimeoutMs = parseShutdownTimeout(command, values, env);
  const entrypoint = resolveEntrypoint(values);
  if (meeting.runId === '') warn('config has no run_id, generated a random run_id');

  checkBackend(values, meeting);
  const endpoints = resolveEndpoints(values, meeting, isAlone);
  checkRdzvConf(values, meeting.backend, rdzvConf);
  const monitorInterval = values.float('monitor_interval') ?? 0.1;
  if (!(monitorInterval > 0)) {
    values.refuse('monitor_interval', 'monitor_interval must be > 0', 'seconds above 0');
  }
  const signals = parseSignals(values, warn);
  refuseWhatIsNotThereYet(values, counts, meeting, nodeRank);
  const place = { counts, meeting, endpoints, conf: rdzvConf, nodeRank, env };
  const secrets = {
    etcd: () => etcdAccessOf(command, rdzvConf, env, warn),
    token: () => tokenOf(command, rdzvConf, env),
  };
  const nodes = nodesOptions(values, place, secrets, warn);
  const health = badHealthPort(env);
  if (health !== undefined) notices.push({ level: 'INFO', text: health });

  const { TORCHELASTIC_ERROR_FILE: errorFile } = env;
  const template =
    values.text('log_line_prefix_template') || env.TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE;
  const startMethod = values.text('start_method');
  const stdoutFilters = splitList(values.text('duplicate_stdout_filters'));
  const stderrFilters = splitList(values.text('duplicate_stderr_filters'));
  const logDir = values.text('log_dir');
  const options: LaunchOptions = {
    entrypoint,
    args: values.scriptArgs(),
    nprocPerNode,
    maxRestarts: Math.min(maxRestarts, Number.MAX_SAFE_INTEGER),
    role: values.text('role') ?? 'default',
    ...(meeting.runId === '' || meeting.runId === undefined ? {} : { runId: meeting.runId }),
    ...masterOf(values, meeting, counts, endpoints),
    ...nodes,
    ...(source === undefined ? {} : { scheduler: source }),
    // torchrun's static backend meets at that very port, and serves it whatever the variable says.
    ...(meeting.backend === 'static' ? { agentStore: 'on' as const } : {}),
    env: {
      ...withoutSecrets(env),
      TORCHELASTIC_SIGNALS_TO_HANDLE: values.text('signals_to_handle'),
    },
    ...(logDir ? { logDir } : {}),
    redirects,
    tee,
    ...(template ? { logLinePrefixTemplate: template } : {}),
    ...(localRanksFilter === undefined ? {} : { localRanksFilter }),
    duplicateStdoutFilters: stdoutFilters,
    duplicateStderrFilters: stderrFilters,
    shutdownTimeoutMs,
    ...(errorFile ? { errorFile } : {}),
    ...readFeatures(values, env),
    virtualLocalRank: values.flag('virtual_local_rank'),
    passLocalRankArg: isLaunch && !values.flag('use_env'),
    ...(startMethod === 'fork' || startMethod === 'forkserver' || startMethod === 'spawn'
      ? { startMethod }
      : {}),
  };

  const forwardSignals = parseForwardSignals(values);
  const settings: CliSettings = {
    signalsToHandle: signals,
    forwardSignals,
    namedSignals: [
      ...(values.isGiven('signals_to_handle') ? signals : []),
      ...forwardSignals,
      ...(options.preemptSignal === undefined ? [] : [options.preemptSignal as NodeJS.Signals]), // its check has told
    ],
    exitCode: values.text('exit_code') === 'worker' ? 'worker' : 'torchrun',
    logLevel: parseLogLevel(command, env),
    notices,
    given: values.given(),
    banner: bannerOf(values, options, {
      counts,
      meeting,
      conf: describeConf(rdzvConf, meeting.backend === 'static' ? nodeRank : undefined),
      maxRestarts,
      monitorInterval,
    }),
  };
  return { do: values.flag('dry_run') ? 'dry-run' : 'run', options, settings };
}

/** torchrun's words for what is launched. */
function bannerOf(
  values: Values,
  { entrypoint, nprocPerNode, logDir, ...options }: LaunchOptions,
  {
    counts,
    meeting,
    conf,
    ...numbers
  }: {
    readonly counts: NodeCounts;
    readonly meeting: Meeting;
    readonly conf: string;
    readonly maxRestarts: number;
    readonly monitorInterval: number;
  },
): CliSettings['banner'] {
  return [
    ['entrypoint', nameOf(entrypoint)],
    ['min_nodes', String(counts.minNodes)],
    ['max_nodes', String(counts.maxNodes)],
    ['nproc_per_node', String(nprocPerNode)],
    ['run_id', meeting.runId ?? ''],
    ['rdzv_backend', meeting.backend],
    ['rdzv_endpoint', meeting.endpoint],
    ['rdzv_configs', conf],
    ['max_restarts', String(numbers.maxRestarts)],
    ['monitor_interval', String(numbers.monitorInterval)],
    ['log_dir', logDir ?? ''],
    ['metrics_cfg', '{}'],
    ['event_log_handler', values.text('event_log_handler') ?? 'null'],
    ['numa_options', describeNuma(values.text('numa_binding'))],
    ['signals_to_handle', values.text('signals_to_handle') ?? ''],
    ['duplicate_stdout_filters', describeList(options.duplicateStdoutFilters ?? [])],
    ['duplicate_stderr_filters', describeList(options.duplicateStderrFilters ?? [])],
  ];
}

function parseNproc(values: Values): number | 'auto' | 'cpu' | 'gpu' | 'xpu' {
  const accepted = 'a number from 1, auto, cpu, gpu, xpu';
  const text = values.text('nproc_per_node') ?? '1';
  if (text === 'auto' || text === 'cpu' || text === 'gpu' || text === 'xpu') return text;

  const number = pythonInt(text);
  if (number === undefined) {
    const meant = didYouMean(text, ['auto', 'cpu', 'gpu', 'xpu']);
    values.refuse('nproc_per_node', `Unsupported nproc_per_node value: ${text}${meant}`, accepted);
  }
  if (number <= 0) values.refuse('nproc_per_node', 'nproc_per_node must be > 0', accepted);
  return number;
}

function parseRanksFilter(values: Values): readonly number[] | undefined {
  const text = values.text('local_ranks_filter') ?? '';
  if (text === '') return undefined;

  return text.split(',').map(part => {
    const rank = pythonInt(part);
    // A rank that nobody has silences all; some use -1 for that.
    if (rank !== undefined) return rank < 0 ? Number.MAX_SAFE_INTEGER : rank;
    const why =
      '--local_ranks_filter must be a comma-separated list of integers ' +
      'e.g. --local_ranks_filter=0,1,2';
    return values.refuse('local_ranks_filter', why, 'local ranks between commas');
  });
}

const streamsByDigit: readonly Streams[] = ['none', 'stdout', 'stderr', 'both'];

/** Parses one digit for all, or `rank:digit,…`. Ranks of two digits fail, as in torchrun. */
function parseStreams(values: Values, dest: 'redirects' | 'tee'): StreamsByRank {
  const text = values.text(dest) ?? '0';
  if (/^[0123]$/.test(text)) return streamsByDigit[Number(text)] ?? 'none';
  if (!/^(\d:[0123],)*(\d:[0123])$/.test(text)) {
    const why = `${text} does not match: <^[0123]$> or <^(\\d:[0123],)*(\\d:[0123])$>`;
    values.refuse(
      dest,
      why,
      '0 none, 1 stdout, 2 stderr, 3 both, or RANK:DIGIT,… with ranks from 0 to 9',
    );
  }

  const byRank: Record<number, Streams> = {};
  for (const pair of text.split(','))
    byRank[Number(pair[0])] = streamsByDigit[Number(pair[2])] ?? 'none';
  return byRank;
}

/** Split on commas; `,,` is a comma. An empty text is a list of one empty text, as in torchrun. */
function splitList(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map(item => item.replaceAll('\0', ','));
}

function parseShutdownTimeout(command: CommandName, values: Values, env: Env): number {
  const accepted = 'seconds from 0';
  const negative = (seconds: number) => `shutdown_timeout must be non-negative, got ${seconds}`;
  const givenMs = values.seconds('shutdown_timeout');
  if (givenMs !== undefined) {
    if (givenMs < 0) values.refuse('shutdown_timeout', negative(givenMs / 1000), accepted);
    return Math.min(givenMs, maxTimerMs);
  }

  const text = env.TORCH_ELASTIC_SHUTDOWN_TIMEOUT ?? '30';
  const seconds = pythonInt(text);
  const source = `TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${text}`;
  if (seconds === undefined) throw refusal(command, source, invalidInt(text), accepted);
  if (seconds < 0) throw refusal(command, source, negative(seconds), accepted);
  return Math.min(seconds * 1000, maxTimerMs);
}

function resolveEntrypoint(values: Values): Entrypoint {
  const script = values.script();
  if (script === '')
    values.refuse('training_script', 'its name is empty', 'a path, module or program');
  if (values.flag('run_path')) {
    const startMethod = values.text('start_method') ?? '';
    if (!['spawn', 'fork', 'forkserver'].includes(startMethod)) {
      values.refuse(
        'start_method',
        `cannot find context for '${startMethod}'`,
        'spawn, fork, forkserver',
      );
    }
    return { runPath: script };
  }
  if (values.flag('no_python')) {
    if (values.flag('module')) {
      const text =
        "Don't use both the '--no-python' flag and the '--module' flag at the same time.";
      values.refuse('no_python', text, 'one of them');
    }
    return { program: script };
  }
  return values.flag('module') ? { module: script } : { script };
}

/** The name that torchrun gives the job in its banner and report. */
function nameOf(entrypoint: Entrypoint): string {
  if ('runPath' in entrypoint) return 'run_script_path';
  if ('module' in entrypoint) return entrypoint.module;
  return 'script' in entrypoint ? entrypoint.script : entrypoint.program;
}

function refuseWhatIsNotThereYet(
  values: Values,
  { minNodes, isAlone }: NodeCounts,
  meeting: Meeting,
  nodeRank: number,
): void {
  if (isAlone && minNodes > 1) {
    values.refuse('nnodes', '--standalone meets nobody', '1, or --rdzv-endpoint in its place');
  }
  if (isAlone && meeting.backend === 'static' && nodeRank !== 0) {
    values.refuse('node_rank', 'the only node of a job has number 0', '0');
  }
  if (values.text('print_completion') !== undefined) {
    values.refuse('print_completion', 'completion scripts are not available yet', 'leave it away');
  }
}

/** Describes a binding's mode as Python prints torchrun's dataclass. */
function describeNuma(mode: string | undefined): string {
  if (mode === undefined) return 'None';
  const member = `<AffinityMode.${mode.toUpperCase().replace('-', '_')}: '${mode}'>`;
  return `NumaOptions(affinity_mode=${member}, should_fall_back_if_binding_fails=False)`;
}

function describeList(texts: readonly string[]): string {
  return `[${texts.map(repr).join(', ')}]`;
}
