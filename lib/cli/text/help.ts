import type { CommandName, OptionGroup, OptionSpec } from '../options/spec.js';
import { optionsOf } from '../options/table.js';

const titles: Readonly<Record<OptionGroup, string>> = {
  workers: 'Workers',
  placement: 'CPUs, memory and GPUs',
  limits: 'Limits of workers',
  entrypoint: 'What they run',
  nodes: 'Nodes and where workers meet',
  output: 'Output and logs',
  failures: 'After failures',
  health: 'Hangs',
  observe: 'Events and metrics',
  stopping: 'Stopping and exit code',
  control: 'From outside',
  about: 'About',
};

const indent = 6;
const lineWidth = 96;

/** All of `--help`, for people. Ends with a line break. */
export function helpText(command: CommandName): string {
  const options = optionsOf(command);
  const groups = (Object.keys(titles) as OptionGroup[]).flatMap(group => {
    const ofGroup = options.filter(option => option.group === group);
    if (ofGroup.length === 0) return [];
    return [`${titles[group]}:`, ...ofGroup.flatMap(describeOption), ''];
  });
  return [...introduction(command), '', ...groups, ...epilogue, ''].join('\n');
}

function introduction(command: CommandName): readonly string[] {
  const usage = `usage: ${command} [options] SCRIPT [arguments of SCRIPT]`;
  if (command === 'regroup-launch') {
    return [
      usage,
      '',
      'Starts the workers of a distributed training job as `python -m torch.distributed.launch` does:',
      'each gets --local-rank=N behind the script, unless --use-env is given. Deprecated; use regroup.',
    ];
  }
  return [
    usage,
    '',
    'Starts, watches and restarts the workers of a distributed training job. Takes the options of',
    'torchrun; what follows SCRIPT goes to it untouched, except that ${local_rank} is replaced.',
    '',
    '  regroup --nproc-per-node=8 --max-restarts=3 train.py --lr 0.1',
    '  regroup topology --nproc-per-node=8 --bind=auto    draws the machine and who would run where',
    '  regroup bench restart -- --nproc-per-node=8 train.py    measures restarts of that job',
    '  regroup timeline events.jsonl -o trace.json    draws what --events has written, for Perfetto',
    '  regroup ps | logs | stop | restart | dump | drain    looks at runs and gives them orders',
  ];
}

const epilogue: readonly string[] = [
  'Both spellings of a name (--max-restarts, --max_restarts) and unambiguous prefixes work.',
  'PET_NAME in the environment gives a default where it says so; for flags 0 is off, another',
  'integer or an empty text is on.',
  '',
  'Environment:',
  '  PYTHON_EXEC                     interpreter of the workers; else REGROUP_PYTHON, the active',
  '                                  virtualenv or conda environment, ./.venv, python3 on PATH',
  '  OMP_NUM_THREADS                 set to 1 for the workers if it is unset and there are several',
  '  LOGLEVEL                        DEBUG, INFO, WARNING (default), ERROR or CRITICAL',
  '  TORCH_ELASTIC_SHUTDOWN_TIMEOUT  see --shutdown-timeout',
  '  TORCHELASTIC_HEALTH_CHECK_PORT  port where HTTP asks for /livez and /readyz',
  '  TORCHELASTIC_ENABLE_FILE_TIMER  1: the file timers of workers are served',
  '  REGROUP_DISABLE                 kernel features to do without, e.g. clone3,pidfd',
  '',
  'Exit code:',
  '  0       all workers ended with 0',
  '  1       a failure, a handled signal, a refused value, or what the machine refused',
  '  2       a wrong command line',
  '  81      a rule said fail-without-requeue',
  '  82      no progress, or the first round failed at once',
  '  83      a worker is stuck in the kernel: this node needs a look',
  '  84      preempted: the job wants to run again',
  '  85      an internal error of regroup',
  '  126     the Node.js that was found cannot be run, or is too old',
  '  127     there is no Node.js',
  '  128 + n as a shell sees it: signal n, which --signals-to-handle left out',
];

function describeOption(option: OptionSpec): readonly string[] {
  const value = option.metavar ?? option.choices?.join(' | ');
  const names = option.names.join(', ');
  const title = value === undefined ? names : `${names} ${value}`;
  const facts = [
    ...(option.default ? [`default ${option.default}`] : []),
    ...(option.env ? [`PET_${option.dest.toUpperCase()}`] : []),
  ];
  const text = facts.length > 0 ? `${option.help} [${facts.join('; ')}]` : option.help;
  return [`  ${title}`, ...wrap(text)];
}

function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > lineWidth) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map(line => ' '.repeat(indent) + line);
}
