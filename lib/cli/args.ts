import type { Entrypoint, LaunchOptions, Streams, StreamsByRank } from '../options.js';
import { signalName, signalNumber } from '../util/signals.js';
import { type Action, ArgumentParser, REMAINDER, SUPPRESS } from './argparse.js';
import type { OptionSpec } from './option-spec.js';
import { type CommandName, optionsOf } from './option-table.js';

/** torchrun's words for LOGLEVEL, by Python's numbers. */
export type LogLevel = number;
export const logLevels = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 } as const;

/** Something to tell before the launch. */
export interface Notice {
  readonly level: keyof typeof logLevels;
  readonly text: string;
}

/** What the command line asks of the command itself, not of `launch`. */
export interface CliSettings {
  /** Signals that are forwarded to workers and end the job with exit code 1. */
  readonly signalsToHandle: readonly NodeJS.Signals[];
  readonly exitCode: 'torchrun' | 'worker';
  readonly logLevel: LogLevel;
  readonly notices: readonly Notice[];
  /** torchrun's words for what is launched, for the banner at INFO; empty is what chance decides. */
  readonly banner: readonly (readonly [name: string, value: string])[];
}

export type ParsedCommand =
  | {
      readonly do: 'run' | 'dry-run';
      readonly options: LaunchOptions;
      readonly settings: CliSettings;
    }
  | { readonly do: 'help' }
  | { readonly do: 'version' }
  /** `text` is all that goes to stderr, without its last line break. */
  | { readonly do: 'error'; readonly exitCode: 1 | 2; readonly text: string };

type Env = Readonly<Record<string, string | undefined>>;

/** The command line is wrong: thrown below, and caught in `parseCommand` only. */
class CommandLineError extends Error {
  constructor(
    readonly exitCode: 1 | 2,
    text: string,
  ) {
    super(text);
  }
}

/**
 * Understands a command line as torchrun does. Pure: looks at nothing but its arguments.
 *
 * @param argv without node and script
 * @source spec/launcher.md §1; pytorch 2.13, torch/distributed/run.py, config_from_args and run
 */
export function parseCommand(
  command: CommandName,
  argv: readonly string[],
  env: Env,
): ParsedCommand {
  try {
    const flags = flagsFromEnv(command, env);
    const parsed = parseGrammar(command, argv);
    if (parsed === 'help' || parsed === 'version') return { do: parsed };

    return resolve(command, readValues(command, parsed, flags, env), env);
  } catch (error) {
    if (!(error instanceof CommandLineError)) throw error;
    return { do: 'error', exitCode: error.exitCode, text: error.message };
  }
}

// --- grammar ---------------------------------------------------------------------------------

/** What was given, as it was given: text, `true` for flags, a list for the script's arguments. */
type Given = ReadonlyMap<string, string | true | readonly string[]>;

/** The methods of argparse's parser that we replace: they print and exit. */
interface ParserInternals {
  _get_option_tuples(
    option: string,
  ): [action: Action, name: string, sep: unknown, value: unknown][];
}

function parseGrammar(command: CommandName, argv: readonly string[]): Given | 'help' | 'version' {
  const options = optionsOf(command).filter(option => mayBeMeant(option, argv));
  const originOf = new Map(
    options.flatMap(option => option.names.map(name => [name, option.origin])),
  );
  const parser = new ArgumentParser({
    prog: command,
    add_help: false,
    argument_default: SUPPRESS,
    color: false,
  });

  let ending: 'help' | 'version' | undefined;
  const stop = (what: 'help' | 'version') => {
    ending ??= what;
    throw new Error(what);
  };
  // The declared type leaves the underscored methods out; argparse's own subclasses replace them.
  const inherited = (parser as unknown as ParserInternals)._get_option_tuples.bind(parser);
  const replaced: ParserInternals & Record<string, unknown> = {
    error(message: string) {
      // Pythons that torchrun runs on count the rest as required too; scripts match their text.
      const isScript = message === 'the following arguments are required: training_script';
      return usageError(command, isScript ? `${message}, training_script_args` : message);
    },
    print_help: () => stop('help'),
    exit: () => stop('version'),
    // argparse's own asks process.stdout for its width. That loads the network stack, and makes
    // a pipe non-blocking which workers will inherit.
    _get_validation_formatter: () => ({ _format_args: () => '' }),
    _check_help: () => undefined,
    _print_message: () => undefined,
    _get_option_tuples(prefix) {
      const matches = inherited(prefix);
      const known = matches.filter(([, name]) =>
        ['torchrun', 'launch'].includes(originOf.get(name) ?? ''),
      );
      const later = matches.filter(([, name]) => originOf.get(name) === 'later torchrun');
      const candidates = known.length > 0 ? known : later;
      // Both spellings of one option aren't two options. Python sees it so since 3.12.8 only.
      const [first] = candidates;
      if (first !== undefined && candidates.every(([action]) => action === first[0]))
        return [first];
      return candidates;
    },
  };
  Object.assign(parser, replaced);
  for (const option of options) addOption(parser, option);
  parser.add_argument('training_script', {});
  parser.add_argument('training_script_args', { nargs: REMAINDER });

  try {
    const namespace = parser.parse_args([...argv]) as Record<string, string | true | string[]>;
    return new Map(Object.entries(namespace));
  } catch (error) {
    if (ending !== undefined) return ending;
    throw error;
  }
}

/**
 * Whether some argument could be this option or a prefix of it. argparse looks options up by their
 * beginnings only, so the others needn't be told to it, at 0.1 ms each.
 */
function mayBeMeant(option: OptionSpec, argv: readonly string[]): boolean {
  return option.names.some(
    name =>
      // Short ones may hide in a cluster, like -mt.
      name.length === 2 || argv.some(arg => arg.startsWith('-') && name.startsWith(nameIn(arg))),
  );
}

/** `--nodes` of `--nodes=2`. */
function nameIn(arg: string): string {
  const equals = arg.indexOf('=');
  return equals < 0 ? arg : arg.slice(0, equals);
}

function addOption(parser: ArgumentParser, option: OptionSpec): void {
  const names = [...option.names] as [string, ...string[]]; // the table has no option without a name
  const { dest } = option;
  switch (option.takes) {
    case 'flag':
      parser.add_argument(...names, { dest, action: 'store_true', default: SUPPRESS });
      return;
    case 'help':
      parser.add_argument(...names, { dest, action: 'help' });
      return;
    case 'version':
      parser.add_argument(...names, { dest, action: 'version', version: '-' });
      return;
    default:
      // Values are converted later, so that the command line and PET_* take the same way.
      parser.add_argument(...names, { dest });
  }
}

function usageError(command: CommandName, message: string): never {
  throw new CommandLineError(
    2,
    `usage: ${command} [options] training_script [arguments of the script]\n` +
      `       ${command} --help lists the options\n` +
      `${command}: error: ${oneLine(message)}`,
  );
}

/**
 * `PET_*` of flags. They are read before anything else, so that a bad one fails `--help` too,
 * as in torchrun, though with one line.
 *
 * An empty text counts as on, where torchrun dies with a ValueError: Kubeflow's training operator
 * sets `PET_STANDALONE=` and means it.
 */
function flagsFromEnv(command: CommandName, env: Env): ReadonlySet<string> {
  const on = new Set<string>();
  for (const option of optionsOf(command)) {
    const text = option.takes === 'flag' && option.env ? env[envName(option)] : undefined;
    if (text === undefined) continue;

    const value = text === '' ? 1 : pythonInt(text);
    if (value === undefined) {
      const accepted = '0 for off, another integer or nothing for on';
      throw refusal(command, `${envName(option)}=${text}`, invalidInt(text), accepted);
    }
    if (value !== 0) on.add(option.dest);
  }
  return on;
}

function envName(option: OptionSpec): string {
  return `PET_${option.dest.toUpperCase()}`;
}

// --- values ----------------------------------------------------------------------------------

/** Values by torchrun's names: the command line's, else the environment's, else the default. */
interface Values {
  text(dest: string): string | undefined;
  int(dest: string): number | undefined;
  float(dest: string): number | undefined;
  flag(dest: string): boolean;
  script(): string;
  scriptArgs(): readonly string[];
  /** Ends the parsing: `--option=value: why (accepted: …)`, or `PET_OPTION=value: …`. */
  refuse(dest: string, why: string, accepted: string): never;
}

function readValues(
  command: CommandName,
  given: Given,
  flags: ReadonlySet<string>,
  env: Env,
): Values {
  const specs = new Map(optionsOf(command).map(option => [option.dest, option]));
  const fromEnv = (option: OptionSpec | undefined) =>
    option?.env ? env[envName(option)] : undefined;

  function text(dest: string): string | undefined {
    const value = given.get(dest);
    return typeof value === 'string'
      ? value
      : (fromEnv(specs.get(dest)) ?? specs.get(dest)?.default);
  }

  function convert(
    dest: string,
    type: string,
    parse: (text: string) => number | undefined,
  ): number | undefined {
    const value = text(dest);
    const number = value === undefined ? undefined : parse(value);
    if (value === undefined || number !== undefined) return number;

    const option = specs.get(dest);
    const from = given.has(dest) || option === undefined ? '' : ` (from ${envName(option)})`;
    const names = option?.names.join('/');
    return usageError(command, `argument ${names}: invalid ${type} value: ${repr(value)}${from}`);
  }

  function checkChoice(option: OptionSpec): void {
    const value = text(option.dest) ?? '';
    if (option.choices === undefined || option.choices.includes(value)) return;

    const why = `invalid choice: ${repr(value)} (choose from ${option.choices.map(repr).join(', ')})`;
    usageError(command, `argument ${option.names.join('/')}: ${why}`);
  }

  function sourceOf(dest: string): string {
    const option = specs.get(dest);
    if (option === undefined) return `${dest}=${values.script()}`;

    const isFromEnv = !given.has(dest) && fromEnv(option) !== undefined;
    const name = isFromEnv ? envName(option) : option.names.find(name => name.startsWith('--'));
    return option.takes === 'flag' ? `${name}` : `${name}=${text(dest) ?? ''}`;
  }

  const values: Values = {
    text,
    int: dest => convert(dest, 'int', pythonInt),
    float: dest => convert(dest, 'float', pythonFloat),
    flag: dest => given.has(dest) || flags.has(dest),
    script: () => String(given.get('training_script')),
    scriptArgs() {
      const args = given.get('training_script_args');
      return Array.isArray(args) ? args : [];
    },
    refuse(dest, why, accepted) {
      throw refusal(command, sourceOf(dest), why, accepted);
    },
  };

  // As in torchrun, the conversions come before any check of what the values mean.
  for (const [dest, option] of specs) {
    if (option.takes === 'int') values.int(dest);
    if (option.takes === 'float') values.float(dest);
    if (given.has(dest)) checkChoice(option);
  }
  return values;
}

/** One line: where the value came from, torchrun's own text where it has one, what would do. */
function refusal(
  command: CommandName,
  source: string,
  why: string,
  accepted: string,
): CommandLineError {
  return new CommandLineError(
    1,
    oneLine(`${command}: error: ${source}: ${why} (accepted: ${accepted})`),
  );
}

/** Keeps a message with somebody's text in it on one line. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, char =>
    char === '\n' ? '\\n' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Python's repr of a text, near enough for messages. */
function repr(text: string): string {
  return text.includes("'") && !text.includes('"')
    ? `"${text}"`
    : `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Python's `int(text)`: blanks around it, a sign, underscores between digits. */
function pythonInt(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^[+-]?\d+(_\d+)*$/.test(trimmed)) return undefined;
  return Number(trimmed.replaceAll('_', '')) + 0; // + 0 makes 0 of -0
}

/** Python's `float(text)`. */
function pythonFloat(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  const special = /^([+-]?)(nan|inf|infinity)$/.exec(trimmed);
  if (special !== null) {
    if (special[2] === 'nan') return Number.NaN;
    return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const digits = '\\d+(_\\d+)*';
  const number = new RegExp(`^[+-]?(${digits}(\\.(${digits})?)?|\\.${digits})(e[+-]?${digits})?$`);
  return number.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : undefined;
}

function invalidInt(text: string): string {
  return `invalid literal for int() with base 10: ${repr(text)}`;
}

// --- meaning ---------------------------------------------------------------------------------

/**
 * From values to options, with torchrun's checks in torchrun's order. What one node can't give
 * yet is refused last, so that torchrun's own complaints come first.
 */
function resolve(command: CommandName, values: Values, env: Env): ParsedCommand {
  const notices: Notice[] = [];
  const warn = (text: string) => notices.push({ level: 'WARNING', text });
  const isLaunch = command === 'regroup-launch';
  if (isLaunch && values.flag('no_python') && !values.flag('use_env')) {
    const text = "When using the '--no-python' flag, you must also set the '--use-env' flag.";
    values.refuse('no_python', text, '--no-python together with --use-env');
  }

  const [minNodes, maxNodes] = parseNodes(values);
  const meeting = resolveMeeting(values, maxNodes);
  const maxRestarts = values.int('max_restarts') ?? 0;
  if (maxRestarts < 0)
    values.refuse('max_restarts', 'max_restarts must be >= 0', 'an integer from 0');
  if (meeting.backend !== 'static' && meeting.endpoint === '') {
    warn(
      'master_addr is only used for static rdzv_backend and when rdzv_endpoint is not specified.',
    );
  }
  const nodeRank = values.int('node_rank') ?? 0;
  if (nodeRank !== 0 && meeting.backend !== 'static') {
    warn(
      'node_rank is only used for static rdzv_backend. ' +
        `It will be ignored for rdzv_backend=${meeting.backend}.`,
    );
  }

  const nprocPerNode = parseNproc(values);
  const rdzvConf = parseRdzvConf(values);
  const localRanksFilter = parseRanksFilter(values);
  const logsSpecs = values.text('logs_specs');
  if (logsSpecs !== undefined) {
    const text = `Could not find entrypoint under 'torchrun.logs_specs[${logsSpecs}]' key`;
    values.refuse(
      'logs_specs',
      text,
      'nothing: plugins of torchrun are Python, and none can be loaded here',
    );
  }
  const redirects = parseStreams(values, 'redirects');
  const tee = parseStreams(values, 'tee');
  const shutdownTimeoutMs = parseShutdownTimeout(command, values, env);
  const entrypoint = resolveEntrypoint(values);
  if (meeting.runId === '') warn('config has no run_id, generated a random run_id');

  const address = resolveAddress(values, meeting);
  const monitorInterval = values.float('monitor_interval') ?? 0.1;
  if (!(monitorInterval > 0)) {
    values.refuse('monitor_interval', 'monitor_interval must be > 0', 'seconds above 0');
  }
  const signals = parseSignals(values, warn);
  refuseWhatIsNotThereYet(values, maxNodes, meeting, nodeRank);
  if (env.TORCHELASTIC_ENABLE_FILE_TIMER === '1') {
    warn(
      'TORCHELASTIC_ENABLE_FILE_TIMER=1: the watchdog is not available yet; workers run without it',
    );
  }

  const { TORCHELASTIC_ERROR_FILE: errorFile } = env;
  const template =
    values.text('log_line_prefix_template') || env.TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE;
  const signalTarget = values.text('signal_target');
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
    ...address,
    env: { ...env, TORCHELASTIC_SIGNALS_TO_HANDLE: values.text('signals_to_handle') },
    ...(logDir ? { logDir } : {}),
    redirects,
    tee,
    ...(template ? { logLinePrefixTemplate: template } : {}),
    ...(localRanksFilter === undefined ? {} : { localRanksFilter }),
    duplicateStdoutFilters: stdoutFilters,
    duplicateStderrFilters: stderrFilters,
    shutdownTimeoutMs,
    ...(errorFile ? { errorFile } : {}),
    ...(signalTarget === 'leader' || signalTarget === 'group' ? { signalTarget } : {}),
    virtualLocalRank: values.flag('virtual_local_rank'),
    passLocalRankArg: isLaunch && !values.flag('use_env'),
    ...(startMethod === 'fork' || startMethod === 'forkserver' || startMethod === 'spawn'
      ? { startMethod }
      : {}),
  };

  const settings: CliSettings = {
    signalsToHandle: signals,
    exitCode: values.text('exit_code') === 'worker' ? 'worker' : 'torchrun',
    logLevel: parseLogLevel(command, env),
    notices,
    banner: [
      ['entrypoint', nameOf(entrypoint)],
      ['min_nodes', String(minNodes)],
      ['max_nodes', String(maxNodes)],
      ['nproc_per_node', String(nprocPerNode)],
      ['run_id', meeting.runId ?? ''],
      ['rdzv_backend', meeting.backend],
      ['rdzv_endpoint', meeting.endpoint],
      ['rdzv_configs', describeConf(rdzvConf, meeting.backend === 'static' ? nodeRank : undefined)],
      ['max_restarts', String(maxRestarts)],
      ['monitor_interval', String(monitorInterval)],
      ['log_dir', logDir ?? ''],
      ['metrics_cfg', '{}'],
      ['event_log_handler', values.text('event_log_handler') ?? 'null'],
      ['numa_options', 'None'],
      ['signals_to_handle', values.text('signals_to_handle') ?? ''],
      ['duplicate_stdout_filters', describeList(stdoutFilters)],
      ['duplicate_stderr_filters', describeList(stderrFilters)],
    ],
  };
  return { do: values.flag('dry_run') ? 'dry-run' : 'run', options, settings };
}

const nodesAccepted = 'N or MIN:MAX with 0 < MIN <= MAX';

function parseNodes(values: Values): [min: number, max: number] {
  const text = values.text('nnodes') ?? '1:1';
  const parts = text.split(':');
  if (parts.length > 2)
    values.refuse('nnodes', `nnodes=${text} is not in "MIN:MAX" format`, nodesAccepted);

  const numbers = parts.map(
    part => pythonInt(part) ?? values.refuse('nnodes', invalidInt(part), nodesAccepted),
  );
  const min = numbers[0] ?? 0;
  const max = numbers[1] ?? min;
  if (!(min > 0 && min <= max)) {
    const why = `min_nodes must be > 0 and <= max_nodes, got min_nodes=${min}, max_nodes=${max}`;
    values.refuse('nnodes', why, nodesAccepted);
  }
  return [min, max];
}

/** How the nodes meet, after torchrun's rewriting of it. */
interface Meeting {
  readonly backend: string;
  readonly endpoint: string;
  /** Absent: a random one. */
  readonly runId: string | undefined;
}

/**
 * `--standalone`, and the plain single-node command, mean: meet nobody, on a free port, under a
 * random id. An explicit master port, by option or environment, keeps the static backend.
 *
 * @source pytorch 2.13, torch/distributed/run.py, run; PR #175699
 */
function resolveMeeting(values: Values, maxNodes: number): Meeting {
  const backend = values.text('rdzv_backend') ?? 'static';
  const endpoint = values.text('rdzv_endpoint') ?? '';
  const masterPort = values.int('master_port');
  const isPlain =
    backend === 'static' && endpoint === '' && masterPort === undefined && maxNodes === 1;
  if (values.flag('standalone') || isPlain) {
    return { backend: 'c10d', endpoint: 'localhost:0', runId: undefined };
  }

  const isStaticDefault = backend === 'static' && endpoint === '';
  return {
    backend,
    endpoint: isStaticDefault ? `${values.text('master_addr')}:${masterPort ?? 29500}` : endpoint,
    runId: values.text('rdzv_id') ?? '',
  };
}

const backends = ['static', 'c10d', 'etcd-v2', 'etcd'];

function resolveAddress(
  values: Values,
  meeting: Meeting,
): { readonly masterAddr?: string; readonly masterPort?: number } {
  const { backend, endpoint } = meeting;
  if (!backends.includes(backend)) {
    const why = backend
      ? `The rendezvous backend '${backend}' is not registered. Did you forget to call \`register\`?`
      : 'The rendezvous backend name must be a non-empty string.';
    values.refuse('rdzv_backend', why, backends.join(', '));
  }

  if (backend === 'static') {
    const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_port';
    if (endpoint.trim() === '') {
      const why = 'Endpoint is missing in endpoint. Try to add --master-addr and --master-port';
      values.refuse(dest, why, 'HOST:PORT');
    }
    const [masterAddr, masterPort] = parseEndpoint(values, dest, endpoint);
    if (masterPort === undefined) {
      const why = `port is missing in endpoint: ${endpoint.trim()}. Try to specify --master-port`;
      values.refuse(dest, why, 'HOST:PORT');
    }
    return { masterAddr, masterPort };
  }

  if (backend === 'c10d') parseEndpoint(values, 'rdzv_endpoint', endpoint);
  const localAddr = values.text('local_addr');
  return localAddr === undefined || localAddr === '' ? {} : { masterAddr: localAddr };
}

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, parse_rendezvous_endpoint */
function parseEndpoint(
  values: Values,
  dest: string,
  text: string,
): [host: string, port: number | undefined] {
  const endpoint = text.trim();
  if (endpoint === '') return ['localhost', undefined];

  const isBareV6 = endpoint.startsWith('[') && endpoint.endsWith(']');
  const colon = isBareV6 ? -1 : endpoint.lastIndexOf(':');
  const rawHost = colon < 0 ? endpoint : endpoint.slice(0, colon);
  const host = /^\[.*\]$/.test(rawHost) && rawHost.length > 1 ? rawHost.slice(1, -1) : rawHost;
  let port: number | undefined;
  if (colon >= 0) {
    const digits = endpoint.slice(colon + 1);
    port = /^[0-9]{1,5}$/.test(digits) ? Number(digits) : undefined;
    if (port === undefined || port >= 65_536) {
      const why =
        `The port number of the rendezvous endpoint '${endpoint}' must be an integer ` +
        'between 0 and 65536.';
      values.refuse(dest, why, 'HOST:PORT with a port from 0 to 65535');
    }
  }
  if (!/^[\w.:-]+$/.test(host)) {
    const why =
      `The hostname of the rendezvous endpoint '${endpoint}' must be a dot-separated list of ` +
      'labels, an IPv4 address, or an IPv6 address.';
    values.refuse(dest, why, 'HOST[:PORT]');
  }
  return [host, port];
}

function parseNproc(values: Values): number | 'auto' | 'cpu' | 'gpu' | 'xpu' {
  const accepted = 'a number from 1, auto, cpu, gpu, xpu';
  const text = values.text('nproc_per_node') ?? '1';
  if (text === 'auto' || text === 'cpu' || text === 'gpu' || text === 'xpu') return text;

  const number = pythonInt(text);
  if (number === undefined) {
    values.refuse('nproc_per_node', `Unsupported nproc_per_node value: ${text}`, accepted);
  }
  if (number <= 0) values.refuse('nproc_per_node', 'nproc_per_node must be > 0', accepted);
  return number;
}

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, _parse_rendezvous_config */
function parseRdzvConf(values: Values): ReadonlyMap<string, string> {
  const accepted = '<key1>=<value1>,...,<keyN>=<valueN>';
  const conf = new Map<string, string>();
  const text = (values.text('rdzv_conf') ?? '').trim();
  if (text === '') return conf;

  for (const pair of text.split(',')) {
    const equals = pair.indexOf('=');
    const key = (equals < 0 ? pair : pair.slice(0, equals)).trim();
    const value = equals < 0 ? '' : pair.slice(equals + 1).trim();
    if (key === '') {
      const why = `The rendezvous configuration string must be in format ${accepted}.`;
      values.refuse('rdzv_conf', why, accepted);
    }
    if (value === '') {
      const why = `The rendezvous configuration option '${key}' must have a value specified.`;
      values.refuse('rdzv_conf', why, accepted);
    }
    conf.set(key, value);
  }
  return conf;
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

/** One digit for all, or `rank:digit,…`. Ranks of two digits fail, as in torchrun. */
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

/** `launch` takes no more: 24 days, longer than anybody waits. */
const maxTimerMs = 2 ** 31 - 1;

function parseShutdownTimeout(command: CommandName, values: Values, env: Env): number {
  const accepted = 'seconds from 0';
  const negative = (seconds: number) => `shutdown_timeout must be non-negative, got ${seconds}`;
  const given = values.int('shutdown_timeout');
  if (given !== undefined) {
    if (given < 0) values.refuse('shutdown_timeout', negative(given), accepted);
    return Math.min(given * 1000, maxTimerMs);
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

function parseSignals(values: Values, warn: (text: string) => void): readonly NodeJS.Signals[] {
  const signals = new Set<NodeJS.Signals>();
  for (const text of (values.text('signals_to_handle') ?? '').split(',')) {
    const name = text.trim();
    if (isCatchable(name)) signals.add(name);
    else warn(`Failed to register signal handler for ${oneLine(text)}`);
  }
  return [...signals];
}

/** Nobody can catch SIGKILL and SIGSTOP, and Node has no listeners for real-time signals. */
function isCatchable(name: string): name is NodeJS.Signals {
  const number = signalNumber(name);
  if (number === undefined || number > 31 || signalName(number) !== name) return false;
  return name !== 'SIGKILL' && name !== 'SIGSTOP';
}

function refuseWhatIsNotThereYet(
  values: Values,
  maxNodes: number,
  meeting: Meeting,
  nodeRank: number,
): void {
  if (maxNodes > 1) values.refuse('nnodes', 'more than one node is not available yet', '1');
  if (meeting.backend === 'static' && nodeRank !== 0) {
    values.refuse('node_rank', 'the only node of a job has number 0', '0');
  }
  if (meeting.backend.startsWith('etcd')) {
    values.refuse('rdzv_backend', 'rendezvous through etcd is not available yet', 'static, c10d');
  }
  if (values.text('numa_binding') !== undefined) {
    values.refuse('numa_binding', 'placing workers on CPUs is not available yet', 'leave it away');
  }
  if (values.text('event_log_handler') !== 'null') {
    values.refuse('event_log_handler', 'event handlers are not available yet', 'null');
  }
  if (values.text('print_completion') !== undefined) {
    values.refuse('print_completion', 'completion scripts are not available yet', 'leave it away');
  }
}

function parseLogLevel(command: CommandName, env: Env): LogLevel {
  const text = env.LOGLEVEL ?? 'WARNING';
  const named: Readonly<Record<string, number>> = { ...logLevels, WARN: 30, FATAL: 50, NOTSET: 0 };
  // Python knows upper case only; nobody means anything else by the lower one.
  const level = named[text.toUpperCase()];
  if (level !== undefined) return level;
  throw refusal(
    command,
    `LOGLEVEL=${text}`,
    `Unknown level: ${repr(text)}`,
    Object.keys(logLevels).join(', '),
  );
}

function describeConf(conf: ReadonlyMap<string, string>, rank: number | undefined): string {
  const pairs = [...conf].map(([key, value]) => `${repr(key)}: ${repr(value)}`);
  if (rank !== undefined) pairs.push(`'rank': ${rank}`);
  if (!conf.has('timeout')) pairs.push("'timeout': 900");
  return `{${pairs.join(', ')}}`;
}

function describeList(texts: readonly string[]): string {
  return `[${texts.map(repr).join(', ')}]`;
}
