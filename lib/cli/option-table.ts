/**
 * Every option of the command line, in one table: the grammar (args.ts) and the help (help.ts)
 * both read it.
 *
 * @source pytorch 2.13, torch/distributed/run.py, get_args_parser; spec/launcher.md §1.3
 */
export interface OptionSpec {
  /** Dashed spelling first; the underscored one is torchrun's older. */
  readonly names: readonly string[];
  /** torchrun's name of the value; `PET_` + its upper case is the variable. */
  readonly dest: string;
  readonly takes: 'text' | 'int' | 'float' | 'list' | 'flag' | 'help' | 'version';
  /** What an absent option means, in help's words. */
  readonly default?: string;
  readonly metavar?: string;
  /** Checked on the command line only: torchrun doesn't check them for `PET_*`. */
  readonly choices?: readonly string[];
  /** Whether `PET_<DEST>` gives a default. */
  readonly env: boolean;
  /**
   * Who has it. Prefixes are torchrun 2.13's: an option that it doesn't know can't make one of its
   * prefixes ambiguous, so `--s…` means today what it meant before the command was swapped.
   */
  readonly origin: 'torchrun' | 'later torchrun' | 'launch' | 'regroup';
  readonly group: OptionGroup;
  readonly help: string;
}

export type OptionGroup = 'workers' | 'nodes' | 'entrypoint' | 'output' | 'stopping' | 'about';

/** `--some-name` and `--some_name`. */
function both(dashed: string): readonly string[] {
  return [dashed, `--${dashed.slice(2).replaceAll('-', '_')}`];
}

const torchrunOptions: readonly OptionSpec[] = [
  {
    names: ['--nnodes'],
    dest: 'nnodes',
    takes: 'text',
    default: '1:1',
    metavar: 'N | MIN:MAX',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'Nodes of the job. More than one is not available yet.',
  },
  {
    names: both('--nproc-per-node'),
    dest: 'nproc_per_node',
    takes: 'text',
    default: '1',
    metavar: 'N | auto | cpu | gpu | xpu',
    env: true,
    origin: 'torchrun',
    group: 'workers',
    help: 'Workers on this node. `cpu`: CPUs that this process may use; `auto`: accelerators, or CPUs where there is none.',
  },
  {
    names: both('--rdzv-backend'),
    dest: 'rdzv_backend',
    takes: 'text',
    default: 'static',
    metavar: 'static | c10d | etcd-v2 | etcd',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'How nodes find each other. etcd is not available yet.',
  },
  {
    names: both('--rdzv-endpoint'),
    dest: 'rdzv_endpoint',
    takes: 'text',
    default: '',
    metavar: 'HOST[:PORT]',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'Where they meet. With one node nothing but a static endpoint is used.',
  },
  {
    names: both('--rdzv-id'),
    dest: 'rdzv_id',
    takes: 'text',
    default: 'none',
    metavar: 'ID',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: "The job's id, the same on all nodes; TORCHELASTIC_RUN_ID of workers. A plain single-node command gets a random one.",
  },
  {
    names: both('--rdzv-conf'),
    dest: 'rdzv_conf',
    takes: 'text',
    default: '',
    metavar: 'KEY=VALUE,…',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'More settings of the rendezvous. Unknown keys are ignored; one node needs none.',
  },
  {
    names: ['--standalone'],
    dest: 'standalone',
    takes: 'flag',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'One node that meets nobody, on a free port. Overrides --rdzv-backend, --rdzv-endpoint and --rdzv-id.',
  },
  {
    names: both('--max-restarts'),
    dest: 'max_restarts',
    takes: 'int',
    default: '0',
    metavar: 'N',
    env: true,
    origin: 'torchrun',
    group: 'workers',
    help: 'Failures that are answered by starting all workers anew.',
  },
  {
    names: both('--monitor-interval'),
    dest: 'monitor_interval',
    takes: 'float',
    default: '0.1',
    metavar: 'SECONDS',
    env: true,
    origin: 'torchrun',
    group: 'workers',
    help: 'Accepted and checked, then unused: nothing is polled here.',
  },
  {
    names: both('--start-method'),
    dest: 'start_method',
    takes: 'text',
    default: 'spawn',
    choices: ['spawn', 'fork', 'forkserver'],
    env: true,
    origin: 'torchrun',
    group: 'entrypoint',
    help: 'Named in the report of a --run-path worker; all of them start in an interpreter of their own.',
  },
  {
    names: both('--event-log-handler'),
    dest: 'event_log_handler',
    takes: 'text',
    default: 'null',
    metavar: 'NAME',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'Where events are logged. Only `null` is available yet.',
  },
  {
    names: ['--role'],
    dest: 'role',
    takes: 'text',
    default: 'default',
    metavar: 'NAME',
    env: true,
    origin: 'torchrun',
    group: 'workers',
    help: "The workers' role: ROLE_NAME, and the prefix of tee'd lines.",
  },
  {
    names: ['-m', '--module'],
    dest: 'module',
    takes: 'flag',
    env: true,
    origin: 'torchrun',
    group: 'entrypoint',
    help: 'SCRIPT is a module: `python -u -m SCRIPT`.',
  },
  {
    names: both('--no-python'),
    dest: 'no_python',
    takes: 'flag',
    env: true,
    origin: 'torchrun',
    group: 'entrypoint',
    help: 'SCRIPT is a program, started itself; no shell.',
  },
  {
    names: both('--run-path'),
    dest: 'run_path',
    takes: 'flag',
    env: true,
    origin: 'torchrun',
    group: 'entrypoint',
    help: 'SCRIPT is run as a function, by runpy.run_path. Wins over --no-python and -m.',
  },
  {
    names: both('--log-dir'),
    dest: 'log_dir',
    takes: 'text',
    metavar: 'FOLDER',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'Folder for log files; /dev/null for none. Without it a folder in the temp dir.',
  },
  {
    names: ['-r', '--redirects'],
    dest: 'redirects',
    takes: 'text',
    default: '0',
    metavar: 'STREAMS',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'Streams that go to files instead of the console: 0 none, 1 stdout, 2 stderr, 3 both, or by local rank: 0:1,1:3.',
  },
  {
    names: ['-t', '--tee'],
    dest: 'tee',
    takes: 'text',
    default: '0',
    metavar: 'STREAMS',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'Streams that go to files and, by whole prefixed lines, to the console. STREAMS as for --redirects.',
  },
  {
    names: both('--local-ranks-filter'),
    dest: 'local_ranks_filter',
    takes: 'text',
    default: '',
    metavar: 'RANK,…',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'Local ranks whose output may reach the console. Files are complete all the same.',
  },
  {
    names: both('--duplicate-stdout-filters'),
    dest: 'duplicate_stdout_filters',
    takes: 'list',
    metavar: 'TEXT,…',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: "Tee'd stdout lines with one of these also go to filtered_stdout.log; `,,` is a comma.",
  },
  {
    names: both('--duplicate-stderr-filters'),
    dest: 'duplicate_stderr_filters',
    takes: 'list',
    metavar: 'TEXT,…',
    env: true,
    origin: 'torchrun',
    group: 'output',
    help: 'The same for stderr and filtered_stderr.log.',
  },
  {
    names: both('--node-rank'),
    dest: 'node_rank',
    takes: 'int',
    default: '0',
    metavar: 'N',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'Number of this node, for the static backend.',
  },
  {
    names: both('--master-addr'),
    dest: 'master_addr',
    takes: 'text',
    default: '127.0.0.1',
    metavar: 'ADDRESS',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'Where workers meet, for the static backend; IPv6 in brackets.',
  },
  {
    names: both('--master-port'),
    dest: 'master_port',
    takes: 'int',
    metavar: 'PORT',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'The port there, the same in every round. Without it a free one, anew in each round.',
  },
  {
    names: both('--local-addr'),
    dest: 'local_addr',
    takes: 'text',
    metavar: 'ADDRESS',
    env: true,
    origin: 'torchrun',
    group: 'nodes',
    help: 'Address that this node is known by.',
  },
  {
    names: both('--logs-specs'),
    dest: 'logs_specs',
    takes: 'text',
    metavar: 'NAME',
    env: false,
    origin: 'torchrun',
    group: 'output',
    help: 'A Python plugin of torchrun; none can be loaded here.',
  },
  {
    names: both('--numa-binding'),
    dest: 'numa_binding',
    takes: 'text',
    choices: ['node', 'socket', 'exclusive', 'core-complex'],
    env: false,
    origin: 'torchrun',
    group: 'workers',
    help: 'CPUs of each worker. Not available yet.',
  },
  {
    names: both('--signals-to-handle'),
    dest: 'signals_to_handle',
    takes: 'text',
    default: 'SIGTERM,SIGINT,SIGHUP,SIGQUIT',
    metavar: 'SIGNAL,…',
    env: true,
    origin: 'torchrun',
    group: 'stopping',
    help: 'Signals that are passed on to the workers and then end the job with exit code 1.',
  },
  {
    names: both('--shutdown-timeout'),
    dest: 'shutdown_timeout',
    takes: 'int',
    metavar: 'SECONDS',
    env: true,
    origin: 'torchrun',
    group: 'stopping',
    help: 'From a stop signal to SIGKILL. Without it TORCH_ELASTIC_SHUTDOWN_TIMEOUT, or 30.',
  },
  {
    names: both('--virtual-local-rank'),
    dest: 'virtual_local_rank',
    takes: 'flag',
    env: true,
    origin: 'torchrun',
    group: 'workers',
    help: 'LOCAL_RANK is 0 for all, and CUDA_VISIBLE_DEVICES shows each worker its own device.',
  },
  {
    names: both('--log-line-prefix-template'),
    dest: 'log_line_prefix_template',
    takes: 'text',
    metavar: 'TEMPLATE',
    env: false,
    origin: 'later torchrun',
    group: 'output',
    help: "Prefix of tee'd lines: ${role_name}, ${rank}, ${local_rank}, ${hostname}. Wins over TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE.",
  },
  {
    names: both('--print-completion'),
    dest: 'print_completion',
    takes: 'text',
    choices: ['bash', 'zsh', 'tcsh'],
    env: false,
    origin: 'later torchrun',
    group: 'about',
    help: 'Not available yet.',
  },
];

const ownOptions: readonly OptionSpec[] = [
  {
    names: ['--signal-target'],
    dest: 'signal_target',
    takes: 'text',
    choices: ['leader', 'group'],
    env: false,
    origin: 'regroup',
    group: 'stopping',
    help: 'Who gets a stop signal: the worker alone (default for Python) or its whole process group (default with --no-python).',
  },
  {
    names: ['--exit-code'],
    dest: 'exit_code',
    takes: 'text',
    default: 'torchrun',
    choices: ['torchrun', 'worker'],
    env: false,
    origin: 'regroup',
    group: 'stopping',
    help: "After a failure exit with 1, as torchrun does, or with the root cause's own code (128 + n for signal n).",
  },
  {
    names: ['--dry-run'],
    dest: 'dry_run',
    takes: 'flag',
    env: false,
    origin: 'regroup',
    group: 'about',
    help: 'Print what would be started, and start nothing.',
  },
  {
    names: ['--version'],
    dest: 'version',
    takes: 'version',
    env: false,
    origin: 'regroup',
    group: 'about',
    help: 'Print the version.',
  },
  {
    names: ['-h', '--help'],
    dest: 'help',
    takes: 'help',
    env: false,
    origin: 'torchrun',
    group: 'about',
    help: 'Print this text.',
  },
];

const useEnv: OptionSpec = {
  names: both('--use-env'),
  dest: 'use_env',
  takes: 'flag',
  env: false,
  origin: 'launch',
  group: 'entrypoint',
  help: 'Leave the argument --local-rank=N away; the script reads LOCAL_RANK.',
};

/** `regroup-launch` stands for `python -m torch.distributed.launch`. */
export type CommandName = 'regroup' | 'regroup-launch';

export function optionsOf(command: CommandName): readonly OptionSpec[] {
  return command === 'regroup'
    ? [...torchrunOptions, ...ownOptions]
    : [...torchrunOptions, useEnv, ...ownOptions];
}
