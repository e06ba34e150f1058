import t from 'tap';
import { type ParsedCommand, parseCommand } from '../../../lib/cli/line/args.js';
import type { CliSettings } from '../../../lib/cli/line/settings.js';
import type { CommandName } from '../../../lib/cli/options/spec.js';
import type { LaunchOptions } from '../../../lib/options/launch-options.js';

type Env = Readonly<Record<string, string>>;

function parse(line: string, env: Env = {}, command: CommandName = 'regroup'): ParsedCommand {
  return parseCommand(
    command,
    line.split(' ').filter(word => word !== ''),
    env,
  );
}

function optionsFor(line: string, env?: Env, command?: CommandName): LaunchOptions {
  const parsed = parse(line, env, command);
  if ('options' in parsed) return parsed.options;
  throw new Error(JSON.stringify(parsed));
}

function settingsFor(line: string, env?: Env): CliSettings {
  const parsed = parse(line, env);
  if ('settings' in parsed) return parsed.settings;
  throw new Error(JSON.stringify(parsed));
}

/** Title, command line, environment, and what the options must have. */
const meanings: readonly [title: string, line: string, env: Env, options: object][] = [
  ['L-001: dashed names work', '--max-restarts 2 t.py', {}, { maxRestarts: 2 }],
  ['L-001: underscored names work', '--max_restarts=2 t.py', {}, { maxRestarts: 2 }],
  [
    'L-002: a prefix of one option works',
    '--nproc 4 --redirect=3 t.py',
    {},
    { nprocPerNode: 4, redirects: 'both' },
  ],
  ['L-002: both spellings of one option are one option', '--max-r 1 t.py', {}, { maxRestarts: 1 }],
  [
    'L-004: what follows the script is its own',
    't.py --n 3 -h --max-restarts=9',
    {},
    { maxRestarts: 0, args: ['--n', '3', '-h', '--max-restarts=9'] },
  ],
  [
    'L-005: -- before the script is dropped, behind it kept',
    '-- t.py -- a',
    {},
    { entrypoint: { script: 't.py' }, args: ['--', 'a'] },
  ],
  [
    'L-007: PET_* gives defaults',
    't.py',
    { PET_MAX_RESTARTS: '3', PET_ROLE: 'a' },
    { maxRestarts: 3, role: 'a' },
  ],
  [
    'L-007: the command line wins over PET_*',
    '--max-restarts=1 t.py',
    { PET_MAX_RESTARTS: 'x' },
    { maxRestarts: 1 },
  ],
  [
    'L-009: PET_START_METHOD is not checked',
    't.py',
    { PET_START_METHOD: 'bogus' },
    { entrypoint: { script: 't.py' } },
  ],
  [
    'L-010: a flag variable of 0 is off',
    '--master-port=1 t.py',
    { PET_STANDALONE: '0' },
    { masterPort: 1 },
  ],
  [
    'L-011: PET_MODULE=0 is off',
    't.py',
    { PET_MODULE: '0', PET_NO_PYTHON: '1' },
    { entrypoint: { program: 't.py' } },
  ],
  [
    'L-016: words of --nproc-per-node are passed on',
    '--nproc-per-node=auto t.py',
    {},
    { nprocPerNode: 'auto' },
  ],
  [
    'L-021: unknown keys of --rdzv-conf are ignored',
    '--rdzv-conf=a=1,b=2 t.py',
    {},
    { entrypoint: { script: 't.py' } },
  ],
  [
    'F-P3: --logs-specs=default is what one gets without it',
    '--logs-specs=default t.py',
    {},
    { entrypoint: { script: 't.py' } },
  ],
  [
    'F-P4: known keys of --rdzv-conf with values of theirs',
    '--rdzv-conf=is_host=Yes,store_type=FILE,read_timeout=5,join_timeout=1,timeout=x t.py',
    {},
    { entrypoint: { script: 't.py' } },
  ],
  [
    'L-029: ,, is a comma in a filter',
    '--duplicate-stdout-filters=a,,b,c t.py',
    {},
    { duplicateStdoutFilters: ['a,b', 'c'] },
  ],
  [
    'L-033: an explicit master port is kept',
    '--master-port=12345 --rdzv-id=job t.py',
    {},
    { masterAddr: '127.0.0.1', masterPort: 12345, runId: 'job' },
  ],
  [
    'L-033: so is one from the environment',
    't.py',
    { PET_MASTER_PORT: '12345' },
    { masterAddr: '127.0.0.1', masterPort: 12345, runId: 'none' },
  ],
  [
    'L-033: a static endpoint names both',
    '--rdzv-endpoint=[::1]:7 t.py',
    {},
    { masterAddr: '::1', masterPort: 7 },
  ],
  [
    'L-046: --run-path wins over --no-python and -m',
    '--run-path -m --no-python /t.py',
    {},
    { entrypoint: { runPath: '/t.py' } },
  ],
  [
    'L-047: -m names a module',
    '-m pkg.train a',
    {},
    { entrypoint: { module: 'pkg.train' }, args: ['a'] },
  ],
  [
    'one grammar for times: each option takes a unit',
    '--preempt-url=http://a --preempt-limit=90s --preempt-interval 500ms --grace=failure=1.5s,signal=2m --fail-fast=1h --hook-timeout=1d --pre-stop=x --gpu-wait=0 --shutdown-timeout=5m t.py',
    {},
    {
      preemptLimitMs: 90_000,
      preemptUrlIntervalMs: 500,
      graceMs: { failure: 1500, signal: 120_000 },
      failFastMs: 3_600_000,
      hooks: { preStop: 'x', timeoutMs: 86_400_000 },
      gpuWaitMs: 0,
      shutdownTimeoutMs: 300_000,
    },
  ],
  [
    'and a bare number is seconds in each',
    '--preempt-limit=90 --grace=hang=.5 --back-off=1:60 --restart-window=3/600 --hang-silence=5 t.py',
    {},
    {
      preemptLimitMs: 90_000,
      graceMs: { hang: 500 },
      backOff: { firstMs: 1000, maxMs: 60_000 },
      restartWindow: { restarts: 3, perMs: 600_000 },
      hang: { silenceMs: 5000 },
    },
  ],
  [
    'signals are named as kill(1) takes them',
    '--preempt-signal=USR1 --hang-silence=1 --dump-signal=usr2 --on-exit=3,SEGV=fail t.py',
    {},
    {
      preemptSignal: 'SIGUSR1',
      hang: { silenceMs: 1000, dumpSignal: 'SIGUSR2' },
      failureRules: [{ exitCodes: [[3, 3]], signals: ['SIGSEGV'], action: 'fail' }],
    },
  ],
  [
    'L-061: --shutdown-timeout is in seconds',
    '--shutdown-timeout=5 t.py',
    { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '7' },
    { shutdownTimeoutMs: 5000 },
  ],
  [
    'L-061: its variable is next',
    't.py',
    { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '7' },
    { shutdownTimeoutMs: 7000 },
  ],
  [
    'a shutdown timeout of years is one of weeks',
    '--shutdown-timeout=999999999 t.py',
    {},
    { shutdownTimeoutMs: 2 ** 31 - 1 },
  ],
  [
    'L-073: streams by local rank',
    '-r 0:3,2:1 t.py',
    {},
    { redirects: { 0: 'both', 2: 'stdout' } },
  ],
  ['L-074: -r and -t mix', '-r 1 -t 2 t.py', {}, { redirects: 'stdout', tee: 'stderr' }],
  ['of a rank named twice the last one wins', '-t 0:3,0:1 t.py', {}, { tee: { 0: 'stdout' } }],
  [
    'L-076: the prefix template comes from its variable',
    't.py',
    { TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE: '<$rank>' },
    { logLinePrefixTemplate: '<$rank>' },
  ],
  [
    'L-077: the option wins over it',
    '--log-line-prefix-template=x t.py',
    { TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE: '<$rank>' },
    { logLinePrefixTemplate: 'x' },
  ],
  [
    'L-078: --local-ranks-filter',
    '--local-ranks-filter=2,0 t.py',
    {},
    { localRanksFilter: [2, 0] },
  ],
  [
    'a negative rank in it is nobody, so all are silent',
    '--local-ranks-filter=-1 t.py',
    {},
    { localRanksFilter: [Number.MAX_SAFE_INTEGER] },
  ],
  [
    'L-087: the own error file is passed on',
    't.py',
    { TORCHELASTIC_ERROR_FILE: '/e' },
    { errorFile: '/e' },
  ],
  [
    'L-105: the variables of Kubeflow start a job',
    't.py',
    {
      PET_NNODES: '1',
      PET_NPROC_PER_NODE: '2',
      PET_NODE_RANK: '0',
      PET_MASTER_ADDR: 'a.b',
      PET_MASTER_PORT: '29500',
    },
    { nprocPerNode: 2, masterAddr: 'a.b', masterPort: 29500 },
  ],
  [
    'L-106: an empty PET_STANDALONE is on',
    '--rdzv-backend=etcd t.py',
    { PET_STANDALONE: '' },
    { entrypoint: { script: 't.py' } },
  ],
  ['L-118: short flags cluster', '-mt 1 t', {}, { entrypoint: { module: 't' }, tee: 'stdout' }],
  [
    'an empty --log-dir is none',
    '--log-dir= -r 3 t.py',
    {},
    { redirects: 'both', logDir: undefined },
  ],
  [
    '--local-addr is where workers meet',
    '--local-addr=10.0.0.1 t.py',
    {},
    { masterAddr: '10.0.0.1' },
  ],
  [
    'limits',
    '--rlimit nofile=1:2,core=unlimited,stack=:8,cpu=9: --nice -5 --umask 027 t.py',
    {},
    {
      rlimits: {
        nofile: { soft: 1, hard: 2 },
        core: 'unlimited',
        stack: { hard: 8 },
        cpu: { soft: 9 },
      },
      nice: -5,
      umask: 0o27,
    },
  ],
  [
    'disk priority and score',
    '--ionice=best-effort:2 --oom-score-adj -5 t.py',
    {},
    { ionice: { class: 'best-effort', level: 2 }, oomScoreAdj: -5 },
  ],
  [
    'limits by a cgroup',
    '--memory-max 64G --memory-high=1.5t --pids-max 4096 --cpu-quota=2.5 t.py',
    {},
    { memoryMax: 64 * 2 ** 30, memoryHigh: 1.5 * 2 ** 40, pidsMax: 4096, cpuQuota: 2.5 },
  ],
  [
    'sizes',
    '--memory-max 2GiB --memory-high=1048576 t.py',
    {},
    { memoryMax: 2 ** 31, memoryHigh: 2 ** 20 },
  ],
  ['a class without a level', '--ionice idle t.py', {}, { ionice: { class: 'idle' } }],
  ['--signal-target', '--signal-target=group t.py', {}, { signalTarget: 'group' }],
  [
    'pain 2: --grace, by reason',
    '--grace failure=0.5,preempt=600 t.py',
    {},
    { graceMs: { failure: 500, preempt: 600_000 } },
  ],
  [
    '--pre-start, --pre-stop, --post-round, --hook-timeout',
    '--pre-start=a --pre-stop b --post-round=c --hook-timeout=500ms t.py',
    {},
    { hooks: { preStart: 'a', preStop: 'b', postRound: 'c', timeoutMs: 500 } },
  ],
  ['F-F15: --agent-store', '--agent-store=off t.py', {}, { agentStore: 'off' }],
  [
    'F-F15: rank 0 may serve a fixed port, too',
    '--master-port=1 --agent-store=off t.py',
    {},
    { agentStore: 'off' },
  ],
  [
    'F-F15: torchrun’s static backend serves its port whatever the variable says',
    '--master-port=1 t.py',
    {},
    { agentStore: 'on' },
  ],
  ['pain 27: --gpu-wait', '--gpu-wait=1.5m t.py', {}, { gpuWaitMs: 90_000 }],
  ['18.1: --events', '--events=log-${hostname} t.py', {}, { events: 'log-${hostname}' }],
  ['L-093: a handler of events', '--event-log-handler=file t.py', {}, { eventLogHandler: 'file' }],
  ['L-093: none', '--event-log-handler=null t.py', {}, {}],
  ['issue 17: --standby', '--standby=auto t.py', {}, { standby: 'auto' }],
  [
    'issue 17: --standby-modules, --standby-after',
    '--standby-modules=torch,torch.distributed --standby-after=2s t.py',
    {},
    { standbyModules: ['torch', 'torch.distributed'], standbyAfterMs: 2000 },
  ],
  ['issue 17: --prestart', '--prestart t.py', {}, { prestart: true }],
  ['F-F06: --tidy-grace', '--tidy-grace=2s t.py', {}, { tidyGraceMs: 2000 }],
  ['F-F16: --leave-detached', '--leave-detached t.py', {}, { leaveDetached: true }],
  ['a hook has a default limit', '--pre-stop=b t.py', {}, { hooks: { preStop: 'b' } }],
  [
    'pain 5: --preempt-*',
    '--preempt-signal=SIGUSR1 --preempt-file=/run/f --preempt-url=http://a/b --preempt-limit=1 t.py',
    {},
    {
      preemptSignal: 'SIGUSR1',
      preemptFile: '/run/f',
      preemptUrl: 'http://a/b',
      preemptLimitMs: 1000,
    },
  ],
  [
    'numbers may be written as Python has them',
    '--max-restarts=+1_0 t.py',
    {},
    { maxRestarts: 10 },
  ],
];

for (const [title, line, env, options] of meanings) {
  t.test(title, t => {
    t.match(optionsFor(line, env), options);
    t.end();
  });
}

/** Title, command line, environment, exit code, and the whole last line. */
const complaints: readonly [
  title: string,
  line: string,
  env: Env,
  exitCode: number,
  text: string,
][] = [
  [
    'L-003: an ambiguous prefix names its candidates',
    '--n 1 t.py',
    {},
    2,
    'ambiguous option: --n could match --nnodes, --nproc-per-node, --nproc_per_node, --no-python, --no_python, --node-rank, --node_rank, --numa-binding, --numa_binding',
  ],
  [
    'options of ours make no prefix ambiguous',
    '--s 1 t.py',
    {},
    2,
    'ambiguous option: --s could match --standalone, --start-method, --start_method, --signals-to-handle, --signals_to_handle, --shutdown-timeout, --shutdown_timeout',
  ],
  [
    'options of ours have no prefixes',
    '--dry t.py',
    {},
    2,
    'unrecognized arguments: --dry; did you mean --dry-run?',
  ],
  [
    'F-U8: an unknown option names the nearest one',
    '--nproc-pre-node=2 --foo t.py',
    {},
    2,
    'unrecognized arguments: --nproc-pre-node=2 --foo; did you mean --nproc-per-node?',
  ],
  [
    'F-U8: so do options of ours, with their value apart',
    '--hang_silense 3 t.py',
    {},
    2,
    'unrecognized arguments: --hang_silense; did you mean --hang-silence?',
  ],
  [
    'an option that is like none has no such hint',
    '--learning-rate=1 t.py',
    {},
    2,
    'unrecognized arguments: --learning-rate=1',
  ],
  [
    'F-U8: an unknown word of a choice names the nearest one',
    '--numa-binding=exclusiv t.py',
    {},
    2,
    "argument --numa-binding/--numa_binding: invalid choice: 'exclusiv' (choose from 'node', 'socket', 'exclusive', 'core-complex'); did you mean exclusive?",
  ],
  [
    'F-U8: so does a word of --nproc-per-node',
    '--nproc-per-node=gpus t.py',
    {},
    1,
    '--nproc-per-node=gpus: Unsupported nproc_per_node value: gpus; did you mean gpu? (accepted: a number from 1, auto, cpu, gpu, xpu)',
  ],
  [
    'F-U8: and an action',
    '--on-exit=3=restrat t.py',
    {},
    1,
    '--on-exit=3=restrat: 3=restrat names no action; did you mean restart? (accepted: …=ACTION with one of restart, restart-free, fail, fail-without-requeue)',
  ],
  [
    'a signal that is none',
    '--preempt-signal=SIGUSR t.py',
    {},
    1,
    '--preempt-signal=SIGUSR: there is no signal SIGUSR; did you mean SIGUSR1? (accepted: names like SIGUSR1 or USR1)',
  ],
  [
    'one that nobody can catch',
    '--preempt-signal=kill t.py',
    {},
    1,
    "--preempt-signal=kill: SIGKILL can't be caught (accepted: names like SIGUSR1 or USR1)",
  ],
  [
    'a time that is none',
    '--preempt-limit=soon t.py',
    {},
    1,
    '--preempt-limit=soon: not a time (accepted: a time like 500ms, 30s, 10m, 2h or 1d, or seconds; 24 days at most)',
  ],
  [
    'a time within a value that is none',
    '--grace=failure=x t.py',
    {},
    1,
    "--grace=failure=x: 'x' isn't a time (accepted: a time like 500ms, 30s, 10m, 2h or 1d, or seconds; 24 days at most)",
  ],
  [
    'issue 17: fewer standbys than workers',
    '--standby=3 t.py',
    {},
    1,
    '--standby=3: is a part of the workers, and a round starts with its slowest: fewer standbys than workers gain nothing (accepted: off or auto)',
  ],
  [
    'issue 17: no standbys',
    '--standby=of t.py',
    {},
    1,
    '--standby=of: is neither (accepted: off or auto)',
  ],
  [
    'issue 17: --prestart without standbys',
    '--prestart --standby=off t.py',
    {},
    1,
    '--standby=off: leaves --prestart without interpreters (accepted: auto, or none of the two)',
  ],
  [
    'a time of years',
    '--fail-fast=999d t.py',
    {},
    1,
    '--fail-fast=999d: not a time (accepted: a time like 500ms, 30s, 10m, 2h or 1d, or seconds; 24 days at most)',
  ],
  [
    'L-006: without a script',
    '--standalone',
    {},
    2,
    'the following arguments are required: training_script, training_script_args',
  ],
  [
    'L-008: a bad integer in the environment names its variable',
    't.py',
    { PET_MAX_RESTARTS: 'x' },
    2,
    "argument --max-restarts/--max_restarts: invalid int value: 'x' (from PET_MAX_RESTARTS)",
  ],
  [
    'L-010: a flag variable must be an integer',
    't.py',
    { PET_STANDALONE: 'abc' },
    1,
    "PET_STANDALONE=abc: invalid literal for int() with base 10: 'abc' (accepted: 0 for off, another integer or nothing for on)",
  ],
  [
    'L-120: a bad flag variable fails --help with one line',
    '--help',
    { PET_MODULE: 'x' },
    1,
    "PET_MODULE=x: invalid literal for int() with base 10: 'x' (accepted: 0 for off, another integer or nothing for on)",
  ],
  [
    'L-012: three parts of --nnodes',
    '--nnodes 1:2:3 t.py',
    {},
    1,
    '--nnodes=1:2:3: nnodes=1:2:3 is not in "MIN:MAX" format (accepted: N or MIN:MAX with 0 < MIN <= MAX)',
  ],
  [
    'L-013: min above max',
    '--nnodes 3:2 t.py',
    {},
    1,
    '--nnodes=3:2: min_nodes must be > 0 and <= max_nodes, got min_nodes=3, max_nodes=2 (accepted: N or MIN:MAX with 0 < MIN <= MAX)',
  ],
  [
    'L-014: an unknown word',
    '--nproc-per-node foo t.py',
    {},
    1,
    '--nproc-per-node=foo: Unsupported nproc_per_node value: foo (accepted: a number from 1, auto, cpu, gpu, xpu)',
  ],
  [
    'the variable is named where the value came from it',
    't.py',
    { PET_NPROC_PER_NODE: 'foo' },
    1,
    'PET_NPROC_PER_NODE=foo: Unsupported nproc_per_node value: foo (accepted: a number from 1, auto, cpu, gpu, xpu)',
  ],
  [
    'L-018: a negative --max-restarts',
    '--max-restarts -1 t.py',
    {},
    1,
    '--max-restarts=-1: max_restarts must be >= 0 (accepted: an integer from 0)',
  ],
  [
    'L-019: a local rank of two digits',
    '-r 10:1 t.py',
    {},
    1,
    '--redirects=10:1: 10:1 does not match: <^[0123]$> or <^(\\d:[0123],)*(\\d:[0123])$> (accepted: 0 none, 1 stdout, 2 stderr, 3 both, or RANK:DIGIT,… with ranks from 0 to 9)',
  ],
  [
    'L-020: a key without a value',
    '--rdzv-conf abc t.py',
    {},
    1,
    "--rdzv-conf=abc: The rendezvous configuration option 'abc' must have a value specified. (accepted: <key1>=<value1>,...,<keyN>=<valueN>)",
  ],
  ...(
    [
      [
        'is_host=dummy',
        "The rendezvous configuration option 'is_host' does not represent a valid boolean value. (accepted: is_host=1 or 0)",
      ],
      [
        'store_type=dummy',
        'Invalid store type given. Currently only supports file and tcp. (accepted: store_type=tcp or file)',
      ],
      [
        'read_timeout=abc',
        "The rendezvous configuration option 'read_timeout' does not represent a valid integer value. (accepted: read_timeout=an integer)",
      ],
      [
        'read_timeout=0',
        'The read timeout must be a positive integer. (accepted: read_timeout=seconds from 1)',
      ],
      [
        'last_call_timeout=-5',
        'The last_call timeout (-1 day, 23:59:55) must be positive. (accepted: last_call_timeout=seconds from 1)',
      ],
      [
        'keep_alive_interval=x',
        "The rendezvous configuration option 'keep_alive_interval' does not represent a valid integer value. (accepted: keep_alive_interval=an integer)",
      ],
    ] as const
  ).map(([conf, text]): (typeof complaints)[number] => [
    `F-P4: ${conf}`,
    `--rdzv-conf=${conf} t.py`,
    {},
    1,
    `--rdzv-conf=${conf}: ${text}`,
  ]),
  [
    'L-022: --no-python with -m',
    '--no-python -m t',
    {},
    1,
    "--no-python: Don't use both the '--no-python' flag and the '--module' flag at the same time. (accepted: one of them)",
  ],
  [
    'L-023: --monitor-interval 0',
    '--monitor-interval 0 t.py',
    {},
    1,
    '--monitor-interval=0: monitor_interval must be > 0 (accepted: seconds above 0)',
  ],
  [
    'L-024: a bad --start-method',
    '--start-method zz t.py',
    {},
    2,
    "argument --start-method/--start_method: invalid choice: 'zz' (choose from 'spawn', 'fork', 'forkserver')",
  ],
  [
    'L-025: an unknown backend',
    '--rdzv-backend foo t.py',
    {},
    1,
    "--rdzv-backend=foo: The rendezvous backend 'foo' is not registered. Did you forget to call `register`? (accepted: static, c10d, etcd-v2, etcd)",
  ],
  [
    'L-026: a port above 65535',
    '--rdzv-endpoint=h:99999 t.py',
    {},
    1,
    "--rdzv-endpoint=h:99999: The port number of the rendezvous endpoint 'h:99999' must be an integer between 0 and 65536. (accepted: HOST:PORT with a port from 0 to 65535)",
  ],
  [
    'L-027: plugins of torchrun',
    '--logs-specs NOPE t.py',
    {},
    1,
    "--logs-specs=NOPE: Could not find entrypoint under 'torchrun.logs_specs[NOPE]' key (accepted: default: plugins of torchrun are Python, and none can be loaded here)",
  ],
  [
    'L-028: a word in --local-ranks-filter',
    '--local-ranks-filter a t.py',
    {},
    1,
    '--local-ranks-filter=a: --local_ranks_filter must be a comma-separated list of integers e.g. --local_ranks_filter=0,1,2 (accepted: local ranks between commas)',
  ],
  [
    'L-061: a negative --shutdown-timeout',
    '--shutdown-timeout=-1 t.py',
    {},
    1,
    '--shutdown-timeout=-1: shutdown_timeout must be non-negative, got -1 (accepted: seconds from 0)',
  ],
  [
    'another node than the only one',
    '--node-rank=1 --master-port=1 t.py',
    {},
    1,
    '--node-rank=1: the only node of a job has number 0 (accepted: 0)',
  ],
  [
    'a binding said twice',
    '--numa-binding=node --bind=auto t.py',
    {},
    1,
    '--bind=auto: --numa-binding says it too (accepted: one of the two)',
  ],
  [
    'a memory policy without a binding',
    '--numa-memory=bind t.py',
    {},
    1,
    '--numa-memory=bind: nothing is bound without --numa-binding or --bind (accepted: one of them beside it)',
  ],
  [
    'a binding that names no rank',
    '--bind=0-3 t.py',
    {},
    1,
    '--bind=0-3: 0-3 names no local rank (accepted: auto, or CPUs by local rank, like 0:0-7,1:8-15)',
  ],
  [
    'a rank that is bound twice',
    '--bind=0:1,0:2 t.py',
    {},
    1,
    '--bind=0:1,0:2: local rank 0 is named twice (accepted: auto, or CPUs by local rank, like 0:0-7,1:8-15)',
  ],
  [
    'a binding that descends',
    '--bind=0:3-1 t.py',
    {},
    1,
    '--bind=0:3-1: 3-1 is no list of CPUs (accepted: auto, or CPUs by local rank, like 0:0-7,1:8-15)',
  ],
  [
    'a handler of events that nobody has',
    '--event-log-handler=mine t.py',
    {},
    1,
    '--event-log-handler=mine: there is no handler mine (accepted: null, console, file; plugins of torchrun are Python, and none can be loaded here)',
  ],
  [
    'events that go nowhere',
    '--events= t.py',
    {},
    1,
    '--events=: its name is empty (accepted: a path, or logs)',
  ],
  [
    'completion scripts',
    '--print-completion=bash t.py',
    {},
    1,
    '--print-completion=bash: completion scripts are not available yet (accepted: leave it away)',
  ],
  [
    'an unknown LOGLEVEL',
    't.py',
    { LOGLEVEL: 'LOUD' },
    1,
    "LOGLEVEL=LOUD: Unknown level: 'LOUD' (accepted: DEBUG, INFO, WARNING, ERROR, CRITICAL)",
  ],
  [
    'PET_START_METHOD matters to --run-path',
    '--run-path t.py',
    { PET_START_METHOD: 'bogus' },
    1,
    "PET_START_METHOD=bogus: cannot find context for 'bogus' (accepted: spawn, fork, forkserver)",
  ],
  [
    'line breaks in values leave the complaint on one line',
    't.py',
    { PET_NNODES: '1\n2' },
    1,
    "PET_NNODES=1\\n2: invalid literal for int() with base 10: '1\\n2' (accepted: N or MIN:MAX with 0 < MIN <= MAX)",
  ],
];

for (const [title, line, env, exitCode, text] of complaints) {
  t.test(`${title}: refused with exit code ${exitCode}`, t => {
    const parsed = parse(line, env);

    const usage =
      'usage: regroup [options] training_script [arguments of the script]\n' +
      '       regroup --help lists the options\n';
    t.same(parsed, {
      do: 'error',
      exitCode,
      text: `${exitCode === 2 ? usage : ''}regroup: error: ${text}`,
    });
    t.end();
  });
}

t.test('L-032, L-030: a plain or standalone command has a random id and a free port', t => {
  for (const line of [
    't.py',
    '--rdzv-id=a t.py',
    '--standalone --master-port=1 --rdzv-backend=foo t.py',
  ]) {
    const options = optionsFor(line);
    t.notOk('runId' in options, line);
    t.notOk('masterPort' in options, line);
  }
  t.end();
});

t.test('an explicit c10d job keeps its id', t => {
  const options = optionsFor('--rdzv-backend=c10d --rdzv-endpoint=node0:29400 --rdzv-id=a t.py');

  t.match(options, { runId: 'a' });
  t.notOk('masterPort' in options, 'the endpoint is for nodes, and there is one');
  t.end();
});

t.test('L-044: launch passes the local rank as an argument unless told not to', t => {
  t.match(optionsFor('t.py', {}, 'regroup-launch'), { passLocalRankArg: true });
  t.match(optionsFor('--use_env t.py', {}, 'regroup-launch'), { passLocalRankArg: false });
  t.match(optionsFor('t.py'), { passLocalRankArg: false });
  t.end();
});

t.test('L-045: launch takes --no-python only with --use-env', t => {
  const text =
    "regroup-launch: error: --no-python: When using the '--no-python' flag, you must also set the " +
    "'--use-env' flag. (accepted: --no-python together with --use-env)";
  t.same(parse('--no-python t.sh', {}, 'regroup-launch'), { do: 'error', exitCode: 1, text });
  t.match(parse('--no-python --use-env t.sh', {}, 'regroup-launch'), { do: 'run' });
  t.match(parse('--use-env t.sh'), { do: 'error', exitCode: 2 });
  t.end();
});

t.test('--help, --version and --dry-run are told apart from a run', t => {
  t.same(parse('--help'), { do: 'help' });
  t.same(parse('-h --bogus'), { do: 'help' });
  t.same(parse('--version'), { do: 'version' });
  t.match(parse('--dry-run t.py'), { do: 'dry-run', options: { entrypoint: { script: 't.py' } } });
  t.match(parse('t.py --dry-run'), { do: 'run', options: { args: ['--dry-run'] } });
  t.end();
});

t.test('L-064: signals are trimmed, and unknown ones are warned of', t => {
  const settings = settingsFor('--signals-to-handle=SIGUSR1,SIGNOPE,SIGKILL,SIGTERM t.py');

  t.same(settings.signalsToHandle, ['SIGUSR1', 'SIGTERM']);
  t.same(settings.notices, [
    { level: 'WARNING', text: 'Failed to register signal handler for SIGNOPE' },
    { level: 'WARNING', text: 'Failed to register signal handler for SIGKILL' },
  ]);
  t.same(settingsFor('t.py').signalsToHandle, ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']);
  t.match(optionsFor('t.py', { PET_SIGNALS_TO_HANDLE: ' SIGTERM' }).env, {
    TORCHELASTIC_SIGNALS_TO_HANDLE: ' SIGTERM',
  });
  t.end();
});

t.test('F-H1 signals that an option names are known from those of the default', t => {
  const named = (line: string, env?: Env) => settingsFor(line, env).namedSignals;

  t.same(named('t.py'), []);
  t.same(named('--signals-to-handle SIGHUP,SIGTERM t.py'), ['SIGHUP', 'SIGTERM']);
  t.same(named('t.py', { PET_SIGNALS_TO_HANDLE: 'SIGINT' }), ['SIGINT']);
  t.same(named('--forward-signals SIGUSR2 --preempt-signal SIGUSR1 t.py'), ['SIGUSR2', 'SIGUSR1']);
  t.end();
});

t.test('L-104: PET_* leak into workers', t => {
  t.match(optionsFor('t.py', { PET_ROLE: 'a' }).env, { PET_ROLE: 'a' });
  t.end();
});

t.test("torchrun's warnings are given", t => {
  const texts = (line: string, env?: Env) =>
    settingsFor(line, env).notices.map(notice => notice.text);

  t.same(texts('t.py'), []);
  t.match(texts('--rdzv-backend=c10d t.py'), [/^master_addr is only used for static rdzv_backend/]);
  t.match(texts('--node-rank=1 t.py'), [/^node_rank is only used for static rdzv_backend/]);
  t.match(texts('--master-port=1 --rdzv-id= t.py'), [/^config has no run_id/]);
  t.end();
});

t.test("L-097 L-099 torchrun's variables turn the workers' timers on", t => {
  const timersOf = (env: Env) => optionsFor('t.py', env).fileTimers;

  t.equal(timersOf({}), undefined);
  t.equal(timersOf({ TORCHELASTIC_ENABLE_FILE_TIMER: 'true' }), undefined);
  t.equal(timersOf({ TORCHELASTIC_TIMER_FILE: '/x' }), undefined);
  t.same(timersOf({ TORCHELASTIC_ENABLE_FILE_TIMER: '1' }), {});
  const both = { TORCHELASTIC_ENABLE_FILE_TIMER: '1', TORCHELASTIC_TIMER_FILE: '/x' };
  t.same(timersOf(both), { path: '/x' });
  t.end();
});

t.test('LOGLEVEL gives the level, in any case', t => {
  t.equal(settingsFor('t.py').logLevel, 30);
  t.equal(settingsFor('t.py', { LOGLEVEL: 'INFO' }).logLevel, 20);
  t.equal(settingsFor('t.py', { LOGLEVEL: 'debug' }).logLevel, 10);
  t.end();
});

t.test('--exit-code chooses whose code is passed on', t => {
  t.equal(settingsFor('t.py').exitCode, 'torchrun');
  t.equal(settingsFor('--exit-code=worker t.py').exitCode, 'worker');
  t.match(parse('--exit-code=what t.py'), { do: 'error', exitCode: 2 });
  t.end();
});
