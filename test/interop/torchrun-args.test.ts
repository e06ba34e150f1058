import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ParsedCommand, parseCommand } from '../../lib/cli/line/args.js';
import { optionsOf } from '../../lib/cli/options/table.js';
import { helpText } from '../../lib/cli/text/help.js';
import type { LaunchOptions } from '../../lib/options/launch-options.js';
import type { Streams, StreamsByRank } from '../../lib/options/logs.js';
import { parseAddress } from '../../lib/util/address.js';
import { torchOrSkip } from './torch.js';

/** One command line, given to torchrun and to us. */
interface Case {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly command?: 'launch';
  /** Ours is meant to end otherwise; why. */
  readonly differs?: string;
  /** Ours ends alike, with words of its own; why. */
  readonly ownWords?: string;
  /** The checklist's id. */
  readonly id?: string;
}

interface Outcome {
  readonly exit: number;
  readonly error: string;
  readonly config: Record<string, unknown> | null;
}

const script = ['train.py', '--lr', '3'];
const newerPython = 'Python before 3.12.8 takes two spellings of one option for two options';
const emptyFlag =
  'torchrun dies of an empty flag variable; operators set PET_STANDALONE= and mean on';

const cases: readonly Case[] = [
  { argv: [...script] },
  { id: 'L-001', argv: ['--nproc-per-node', '2', '--max_restarts=3', ...script] },
  { id: 'L-001', argv: ['--nproc_per_node=2', '--max-restarts', '3', ...script] },
  { id: 'L-002', argv: ['--redirect=3', ...script] },
  { id: 'L-002', argv: ['--stand', ...script] },
  { id: 'L-002', argv: ['--nproc', '2', ...script], differs: newerPython },
  { id: 'L-002', argv: ['--monitor', '1', ...script], differs: newerPython },
  ...[
    '--n',
    '--s',
    '--m',
    '--r',
    '--l',
    '--log',
    '--rdzv',
    '--d',
    '--ma',
    '--no',
    '--sh',
    '--si',
    '--st',
  ].map(
    (prefix): Case =>
      ['--sh', '--si'].includes(prefix)
        ? { id: 'L-003', argv: [prefix, '1', ...script], differs: newerPython }
        : { id: 'L-003', argv: [prefix, '1', ...script] },
  ),
  ...['--dry', '--exit', '--signal-target', '--ver'].map(
    (name): Case => ({
      argv: [name, 'leader', ...script],
      ...(name === '--signal-target' ? { differs: 'an option of ours' } : {}),
    }),
  ),
  { id: 'L-003', argv: ['--sig', 'SIGTERM', ...script], differs: newerPython },
  { id: 'L-004', argv: ['train.py', '--nnodes', '7', '-h', '-r', '9', '--standalone'] },
  {
    id: 'L-004',
    argv: ['train.py', '--n', '7'],
    differs: `${newerPython}, even behind the script`,
  },
  { id: 'L-005', argv: ['--', 'train.py', '--', 'a'] },
  { id: 'L-005', argv: ['--standalone', '--', 'train.py', '-m'] },
  { id: 'L-006', argv: [] },
  { id: 'L-006', argv: ['--standalone'] },
  { argv: ['--bogus', ...script] },
  { argv: ['--bogus=1', ...script] },
  { argv: ['-x', ...script] },
  { argv: ['--max-restarts'] },
  { argv: ['--standalone=1', ...script] },
  { argv: ['-m=1', ...script] },
  {
    id: 'L-007',
    argv: [...script],
    env: { PET_MAX_RESTARTS: '4', PET_ROLE: 'trainer', PET_NPROC_PER_NODE: '2' },
  },
  { id: 'L-007', argv: ['--max-restarts=1', ...script], env: { PET_MAX_RESTARTS: 'x' } },
  { id: 'L-008', argv: [...script], env: { PET_MAX_RESTARTS: 'x' } },
  { id: 'L-008', argv: [...script], env: { PET_MAX_RESTARTS: '' } },
  { argv: [...script], env: { PET_MAX_RESTARTS: ' +1_0 ' } },
  { argv: [...script], env: { PET_MONITOR_INTERVAL: '1e-1_0' } },
  { argv: [...script], env: { PET_MONITOR_INTERVAL: '1e' } },
  { id: 'L-009', argv: [...script], env: { PET_START_METHOD: 'bogus' } },
  { id: 'L-010', argv: [...script], env: { PET_STANDALONE: 'abc' } },
  { id: 'L-010', argv: [...script], env: { PET_STANDALONE: '1.5' } },
  { id: 'L-010', argv: ['--master-port=1', ...script], env: { PET_STANDALONE: '0' } },
  { id: 'L-106', argv: [...script], env: { PET_STANDALONE: '' }, differs: emptyFlag },
  { id: 'L-120', argv: ['--help'], env: { PET_MODULE: 'x' } },
  { id: 'L-120', argv: ['--help'] },
  { argv: ['-h', 'x'] },
  { id: 'L-011', argv: [...script], env: { PET_MODULE: '1', PET_NO_PYTHON: '1' } },
  { id: 'L-011', argv: [...script], env: { PET_MODULE: '0', PET_NO_PYTHON: '1' } },
  { id: 'L-012', argv: ['--nnodes', '1:2:3', ...script] },
  { id: 'L-013', argv: ['--nnodes', '0', ...script] },
  { id: 'L-013', argv: ['--nnodes', '3:2', ...script] },
  { id: 'L-013', argv: ['--nnodes', '-1', ...script] },
  { argv: ['--nnodes', 'a', ...script] },
  { argv: ['--nnodes', '1:', ...script] },
  { argv: ['--nnodes', ' 1 : 1 ', ...script] },
  { argv: ['--nnodes', '2', ...script] },
  { argv: ['--nnodes', '1:4', ...script] },
  { argv: ['--nnodes=2', '--node-rank=1', '--master-addr=node0', '--rdzv-id=j', ...script] },
  { argv: ['--nnodes=2', '--rdzv-endpoint=[::1]:29501', ...script] },
  { argv: ['--nnodes=2', '--rdzv-endpoint=node0', ...script] },
  { argv: ['--nnodes=2', '--rdzv-backend=c10d', '--rdzv-endpoint=h:99999', ...script] },
  { id: 'L-014', argv: ['--nproc-per-node', 'foo', ...script] },
  { id: 'L-014', argv: ['--nproc-per-node', '', ...script] },
  { id: 'L-014', argv: ['--nproc-per-node', '2.5', ...script] },
  { argv: ['--nproc-per-node', '0', ...script] },
  { argv: ['--nproc-per-node', '-3', ...script] },
  { id: 'L-018', argv: ['--max-restarts', '-1', ...script] },
  { id: 'L-019', argv: ['-r', '5', ...script] },
  { id: 'L-019', argv: ['-r', '10:1', ...script] },
  { id: 'L-019', argv: ['-t', '0:3,', ...script] },
  { id: 'L-019', argv: ['-t', '', ...script] },
  { argv: ['-r', '0:1,1:3,0:2', '-t3', ...script] },
  { id: 'L-020', argv: ['--rdzv-conf', 'abc', ...script] },
  { id: 'L-020', argv: ['--rdzv-conf', 'a=', ...script] },
  { id: 'L-020', argv: ['--rdzv-conf', '=1', ...script] },
  { id: 'L-020', argv: ['--rdzv-conf', 'a=1,', ...script] },
  { id: 'L-021', argv: ['--rdzv-conf', ' what = ever=1 , b=2', ...script] },
  ...[
    'is_host=dummy',
    'is_host=Yes',
    'store_type=dummy',
    'read_timeout=abc',
    'read_timeout=0',
    'join_timeout=0',
    'last_call_timeout=-90000',
    'close_timeout=x',
    'heartbeat_timeout=-1',
    'keep_alive_interval=x',
    'keep_alive_max_attempt=x',
  ].map(conf => ({ id: 'F-P4', argv: ['--rdzv-conf', conf, ...script] })),
  { id: 'F-P4', argv: ['--master-port=29777', '--rdzv-conf', 'timeout=abc', ...script] },
  {
    id: 'F-P4',
    argv: ['--master-port=29778', '--rdzv-conf', 'read_timeout=abc,is_host=x', ...script],
  },
  { id: 'L-022', argv: ['--no-python', '-m', 'x'] },
  { id: 'L-023', argv: ['--monitor-interval', '0', ...script] },
  { id: 'L-023', argv: ['--monitor-interval', 'x', ...script] },
  { id: 'L-024', argv: ['--start-method', 'zz', ...script] },
  { argv: ['--numa-binding', 'zz', ...script] },
  { argv: ['--numa-binding', 'node', ...script] },
  { argv: ['--numa-binding=core-complex', ...script] },
  { id: 'L-093', argv: ['--event-log-handler', 'console', ...script] },
  {
    id: 'L-093',
    argv: ['--event-log-handler', 'mine', ...script],
    differs: 'torchrun ends with KeyError when it has begun',
  },
  { argv: ['--event-log-handler', 'null', ...script] },
  { id: 'L-025', argv: ['--rdzv-backend', 'foo', ...script] },
  { id: 'L-025', argv: ['--rdzv-backend=', ...script] },
  { id: 'L-026', argv: ['--rdzv-endpoint=host:99999', ...script] },
  { id: 'L-026', argv: ['--rdzv-endpoint=host:abc', ...script] },
  { id: 'L-026', argv: ['--rdzv-backend=c10d', '--rdzv-endpoint=host:99999', ...script] },
  { id: 'L-026', argv: ['--rdzv-backend=c10d', '--rdzv-endpoint=ho st', ...script] },
  { argv: ['--rdzv-endpoint=host', ...script] },
  { argv: ['--rdzv-endpoint=[::1]:29501', ...script] },
  { argv: ['--rdzv-endpoint= ', ...script] },
  { argv: ['--master-port=99999', ...script] },
  { argv: ['--master-port=-5', ...script] },
  { id: 'L-027', argv: ['--logs-specs', 'NOPE', ...script] },
  { id: 'F-P3', argv: ['--logs-specs=default', ...script] },
  { id: 'L-028', argv: ['--local-ranks-filter', 'a', ...script] },
  { id: 'L-028', argv: ['--local-ranks-filter', '0,', ...script] },
  { argv: ['--local-ranks-filter', '2, 0', ...script] },
  {
    id: 'L-029',
    argv: ['--duplicate-stdout-filters', 'a,,b,c', '--duplicate-stderr-filters=', ...script],
  },
  { id: 'L-029', argv: [...script], env: { PET_DUPLICATE_STDOUT_FILTERS: 'x,,,y' } },
  {
    id: 'L-030',
    argv: ['--standalone', '--rdzv-backend=etcd', '--rdzv-id=a', '--rdzv-endpoint=x:1', ...script],
  },
  { id: 'L-032', argv: ['--rdzv-id=mine', ...script] },
  { id: 'L-033', argv: ['--master-port=12345', '--rdzv-id=mine', ...script] },
  { id: 'L-033', argv: [...script], env: { PET_MASTER_PORT: '12345' } },
  { id: 'L-033', argv: ['--master-port=12345', '--master-addr=[::1]', ...script] },
  { id: 'L-105', argv: [...script], env: kubeflow() },
  { id: 'L-044', command: 'launch', argv: ['train.py', 'a'] },
  { id: 'L-044', command: 'launch', argv: ['--use_env', 'train.py', 'a'] },
  { id: 'L-044', command: 'launch', argv: ['--use', '-m', 'train', 'a'], differs: newerPython },
  { id: 'L-045', command: 'launch', argv: ['--no-python', 'x'] },
  { id: 'L-045', command: 'launch', argv: ['--no-python', '--use-env', 'x'] },
  { argv: ['--use-env', 'x'] },
  { id: 'L-046', argv: ['--run-path', '-m', '--no-python', '/train.py', 'a'] },
  { id: 'L-047', argv: ['-m', 'pkg.train', 'a'] },
  {
    id: 'L-061',
    argv: ['--shutdown-timeout=5', ...script],
    env: { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '7' },
  },
  { id: 'L-061', argv: [...script], env: { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '7' } },
  { id: 'L-061', argv: ['--shutdown-timeout=-1', ...script] },
  { id: 'L-061', argv: [...script], env: { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: 'x' } },
  { id: 'L-064', argv: ['--signals-to-handle', 'SIGUSR1, SIGTERM', ...script] },
  { id: 'L-040', argv: ['--virtual-local-rank', ...script] },
  { id: 'L-076', argv: [...script], env: { TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE: '[${rank}]: ' } },
  { id: 'L-118', argv: ['-mt', '1', 'mod'] },
  { id: 'L-118', argv: ['-mt1', 'mod'] },
  { id: 'L-118', argv: ['-r3', ...script] },
  { id: 'L-118', argv: ['-rm', ...script] },
  { id: 'L-118', argv: ['-mx', ...script], ownWords: 'Python 3.12 and later say it so' },
  { argv: ['-5', 'x'] },
  { argv: ['', 'x'], ownWords: 'torchrun says IndexError' },
];

const torch = torchOrSkip(t, 'newest');
const [options, ...outcomes] = torch === undefined ? [] : askTorchrun(torch.python);
if (options !== undefined) {
  t.test('every option of torchrun is there and in --help, in all its spellings', t => {
    const ours = new Map(optionsOf('regroup').map(option => [option.dest, option.names]));
    const help = helpText('regroup');

    for (const [dest, names] of Object.entries(options.config ?? {})) {
      t.same(ours.get(dest), names, dest);
      t.match(help, `  ${(names as string[]).join(', ')}`);
    }
    t.end();
  });
}
outcomes.forEach((theirs, index) => {
  const one = cases[index];
  if (one === undefined) return;

  const { id, argv, env = {}, command, differs } = one;
  const words = [...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...argv];
  const line = JSON.stringify([command ?? 'run', ...words].join(' '));
  const how =
    differs === undefined ? 'ends as under torchrun' : 'ends otherwise than under torchrun';
  t.test(`${id ? `${id}: ` : ''}${line} ${how}`, t => {
    const ours = parseCommand(command === 'launch' ? 'regroup-launch' : 'regroup', argv, env);

    if (differs !== undefined) t.not(codeOf(ours), theirs.exit, differs);
    else compare(t, ours, theirs, one.ownWords);
    t.end();
  });
});

function compare(t: Test, ours: ParsedCommand, theirs: Outcome, ownWords?: string): void {
  t.equal(codeOf(ours), theirs.exit, `exit code; torchrun says ${theirs.error}`);
  if (ours.do === 'error') {
    // Behind `SomeError: ` or `prog: error: `. A bare AssertionError has no text to keep.
    const text = theirs.error.replace(/^(\w+\.py: error|\w+Error)(: )?/, '');
    const lines = ours.text.split('\n');
    if (ownWords === undefined) t.ok(lines.at(-1)?.includes(text), `${lines.at(-1)} has ${text}`);
    t.equal(lines.length, theirs.exit === 2 ? 3 : 1, 'lines');
  }
  if (theirs.config !== null && 'options' in ours)
    t.match(describe(ours.options), theirsOf(theirs.config));
}

function codeOf(parsed: ParsedCommand): number {
  return parsed.do === 'error' ? parsed.exitCode : 0;
}

/** Our options in torchrun's words, as far as they can be compared. */
function describe(options: LaunchOptions): Record<string, unknown> {
  const { entrypoint, masterAddr, masterPort, rdzvBackend, rdzvEndpoint = '' } = options;
  const at = masterPort === undefined ? null : { host: masterAddr, port: masterPort };
  const master = rdzvBackend === 'static' ? parseAddress(rdzvEndpoint) : at;
  const args = options.passLocalRankArg
    ? ['--local-rank=${local_rank}', ...(options.args ?? [])]
    : options.args;
  return {
    args: [...headOf(entrypoint), ...(args ?? [])],
    isProgram: 'program' in entrypoint,
    nproc: options.nprocPerNode,
    role: options.role,
    max_restarts: options.maxRestarts,
    run_id: options.runId ?? 'random',
    master: master === null || typeof master === 'string' ? null : [master.host, master.port],
    redirects: digits(options.redirects),
    tee: digits(options.tee),
    local_ranks_filter: [...(options.localRanksFilter ?? [])].sort(),
    stdout_filters: options.duplicateStdoutFilters,
    stderr_filters: options.duplicateStderrFilters,
    prefix: options.logLinePrefixTemplate ?? null,
    shutdown_timeout: (options.shutdownTimeoutMs ?? 0) / 1000,
    virtual_local_rank: options.virtualLocalRank,
    signals: options.env?.TORCHELASTIC_SIGNALS_TO_HANDLE,
  };
}

function theirsOf(config: Record<string, unknown>): Record<string, unknown> {
  const { entrypoint, backend, master, start_method: _, ...rest } = config;
  return {
    ...rest,
    isProgram: !/python3?$/.test(String(entrypoint)) && entrypoint !== 'function',
    run_id: /^[0-9a-f]{8}-/.test(String(config.run_id)) ? 'random' : config.run_id,
    master: backend === 'static' ? master : null,
  };
}

function headOf(entrypoint: LaunchOptions['entrypoint']): string[] {
  if ('runPath' in entrypoint) return [entrypoint.runPath];
  if ('program' in entrypoint) return [];
  return 'module' in entrypoint ? ['-u', '-m', entrypoint.module] : ['-u', entrypoint.script];
}

function digits(streams: StreamsByRank | undefined): unknown {
  const digit = (value: Streams) => ['none', 'stdout', 'stderr', 'both'].indexOf(value);
  if (typeof streams === 'string') return digit(streams);
  return Object.fromEntries(
    Object.entries(streams ?? {}).map(([rank, value]) => [rank, digit(value)]),
  );
}

/** What Kubeflow's trainer v2 sets for a job of one node. */
function kubeflow(): Record<string, string> {
  return {
    PET_NNODES: '1',
    PET_NPROC_PER_NODE: '2',
    PET_NODE_RANK: '0',
    PET_MASTER_ADDR: 'job-node-0-0.job',
    PET_MASTER_PORT: '29500',
  };
}

/** First the parser's options, then the cases' outcomes. */
function askTorchrun(python: string): Outcome[] {
  const helper = join(process.cwd(), 'test/interop/torchrun_args.py');
  const input = JSON.stringify(
    [{ argv: [], command: 'options' }, ...cases].map(one => ({ env: {}, command: 'run', ...one })),
  );
  const { status, stdout, stderr } = spawnSync(python, [helper], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${helper} failed:\n${stderr}`);
  return JSON.parse(stdout) as Outcome[]; // what the helper documents
}
