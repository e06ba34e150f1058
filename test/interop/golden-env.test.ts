// biome-ignore-all lint/suspicious/noTemplateCurlyInString: torchrun's macros
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type Launch, type Launcher, regroupLauncher, torchLauncher } from './launchers.js';
import { releases, root, type Torch, torchOrSkip } from './torch.js';

// The same command lines under real torchrun and under regroup; what the workers see of themselves
// is compared variable by variable. Whatever may differ is in the two tables below, with a reason.

type Seen = Readonly<Record<string, unknown>> & { readonly env: Readonly<Record<string, string>> };

interface Command extends Omit<Launch, 'kind'> {
  /** What the comparison shows, with the ids of launcher.md's checklist. */
  readonly shows: string;
  /** `python -m torch.distributed.launch` against `regroup-launch`. */
  readonly launch?: true;
  /** Releases that know these options. @default both */
  readonly only?: Torch['release'];
  readonly workers?: number;
  /** Beyond being alike: facts about each of our workers. */
  readonly expect?: (t: Test, seen: Seen, rank: number) => void;
}

const script = join(root, 'test/fixtures/show_env.py');
const commands: readonly Command[] = [
  {
    shows: 'L-035 L-036 L-039 L-041 L-113 a plain command: one worker',
    args: [script, 'a', '--b', '--', '--standalone'],
    expect: (t, seen) => {
      t.notOk('OMP_NUM_THREADS' in seen.env, 'OMP_NUM_THREADS stays away');
      t.ok(seen.env['TORCHELASTIC_RUN_ID'], 'which is_torchelastic_launched() looks for');
    },
  },
  {
    shows: 'L-030 L-036 --standalone, whatever else is given',
    args: ['--standalone', '--rdzv-id=ignored', '--rdzv-endpoint=nowhere:1', script],
    only: 'newest',
  },
  { shows: 'L-030 L-036 --standalone', args: ['--standalone', script] },
  {
    shows: 'L-034 L-036 L-037 L-038 two workers',
    args: ['--standalone', '--nproc_per_node=2', script],
    workers: 2,
    expect: (t, seen) => t.equal(seen.env['OMP_NUM_THREADS'], '1'),
  },
  {
    shows: 'L-035 OMP_NUM_THREADS that is set',
    args: ['--standalone', '--nproc_per_node=2', script],
    env: { OMP_NUM_THREADS: '3' },
    workers: 2,
    expect: (t, seen) => t.equal(seen.env['OMP_NUM_THREADS'], '3'),
  },
  {
    shows: 'L-035 OMP_NUM_THREADS that is set to nothing',
    args: ['--standalone', '--nproc_per_node=2', script],
    env: { OMP_NUM_THREADS: '' },
    workers: 2,
    expect: (t, seen) => t.equal(seen.env['OMP_NUM_THREADS'], ''),
  },
  {
    shows: 'L-038 error handling of NCCL as the user sets it',
    args: ['--standalone', script],
    env: { TORCH_NCCL_ASYNC_ERROR_HANDLING: '0', NCCL_ASYNC_ERROR_HANDLING: '0' },
  },
  {
    shows: 'L-047 -m module, and its place in sys.path',
    args: ['--standalone', '-m', 'show_env', 'x'],
    env: { PYTHONPATH: dirname(script) },
  },
  {
    shows: 'L-041 --no-python runs the program itself',
    args: ['--standalone', '--no_python', 'python3', script, '-u'],
  },
  {
    shows: 'L-042 PYTHON_EXEC replaces the interpreter',
    args: ['--standalone', script, 'x'],
    // Made by the test: a link to the interpreter, beside the working directory.
    env: { PYTHON_EXEC: '../another-python' },
    expect: (t, seen) => t.match(seen['commandLine'], ['../another-python', '-u']),
  },
  {
    shows: 'L-043 macros in arguments',
    args: [
      '--standalone',
      '--nproc_per_node=2',
      script,
      ...[
        'a${local_rank}b',
        '--x=$local_rank',
        '$$ $RANK ${foo} $',
        '${LOCAL_RANK} $Local_Rank',
        '$local_ranks',
      ],
    ],
    workers: 2,
    expect: (t, seen, rank) =>
      t.match(seen['argv'], [script, `a${rank}b`, `--x=${rank}`, '$ $RANK ${foo} $']),
  },
  {
    shows: 'L-033 L-036 --master-port: the static backend',
    args: ['--master_port=29617', '--rdzv_id=job-7', script],
    expect: (t, seen) => t.match(seen.env, { MASTER_ADDR: '127.0.0.1', MASTER_PORT: '29617' }),
  },
  {
    shows: 'L-033 L-104 L-105 PET_ variables as Kubeflow sets them, seen by workers too',
    args: [script],
    env: {
      PET_NNODES: '1',
      PET_NPROC_PER_NODE: '2',
      PET_NODE_RANK: '0',
      PET_MASTER_ADDR: '127.0.0.1',
      PET_MASTER_PORT: '29618',
    },
    workers: 2,
    expect: (t, seen) => t.match(seen.env, { PET_NODE_RANK: '0', MASTER_PORT: '29618' }),
  },
  {
    shows: 'L-036 variables that an outer launcher or scheduler left are overwritten',
    args: ['--standalone', script],
    env: {
      RANK: '7',
      WORLD_SIZE: '9',
      LOCAL_RANK: '3',
      MASTER_ADDR: 'elsewhere',
      MASTER_PORT: '1',
      TORCHELASTIC_RUN_ID: 'outer',
      TORCHELASTIC_RESTART_COUNT: '4',
      TORCHELASTIC_USE_AGENT_STORE: 'False',
    },
  },
  {
    shows: 'L-040 --virtual-local-rank',
    args: ['--standalone', '--nproc-per-node=2', '--virtual-local-rank', script],
    only: 'newest',
    workers: 2,
    expect: (t, seen, rank) =>
      t.match(seen.env, { LOCAL_RANK: '0', CUDA_VISIBLE_DEVICES: `${rank}` }),
  },
  {
    shows: 'L-040 --virtual-local-rank with devices chosen',
    args: ['--standalone', '--nproc-per-node=2', '--virtual-local-rank', script],
    env: { CUDA_VISIBLE_DEVICES: '6, GPU-abc ,7' },
    only: 'newest',
    workers: 2,
    expect: (t, seen, rank) => t.match(seen.env, { CUDA_VISIBLE_DEVICES: ['6', 'GPU-abc'][rank] }),
  },
  {
    shows: 'L-036 L-053 the attempt after a restart',
    args: ['--standalone', '--max_restarts=2', script],
    env: { SHOW_FAIL_UNTIL: '1' },
    expect: (t, seen) =>
      t.match(seen.env, { TORCHELASTIC_RESTART_COUNT: '1', TORCHELASTIC_MAX_RESTARTS: '2' }),
  },
  {
    shows: 'L-044 launch puts the local rank behind the script',
    launch: true,
    args: ['--nproc_per_node=2', '--master_port=29619', script, 'x'],
    workers: 2,
  },
  {
    shows: 'L-044 launch --use-env does not',
    launch: true,
    args: ['--use_env', '--master_port=29620', script, 'x'],
    expect: (t, seen) => t.strictSame(seen['argv'], [script, 'x']),
  },
  {
    shows: 'L-070 L-073 -r and --log-dir',
    args: ['--standalone', '--nproc_per_node=2', '-r', '0:3,1:1', '--log_dir', 'logs', script],
    workers: 2,
  },
  { shows: 'L-070 L-072 -t', args: ['--standalone', '-t', '3', script] },
  {
    shows: 'L-075 --role',
    args: ['--standalone', '--role', 'trainer', script],
    expect: (t, seen) => t.equal(seen.env['ROLE_NAME'], 'trainer'),
  },
  {
    shows: 'L-039 stdin reaches the worker',
    args: ['--standalone', script],
    env: { SHOW_READ_STDIN: '1' },
    input: 'typed\n',
    expect: (t, seen) => t.equal(seen['stdin'], 'typed\n'),
  },
  {
    shows: 'L-064 --signals-to-handle',
    args: ['--standalone', '--signals-to-handle', 'SIGTERM,SIGUSR1', script],
    only: 'newest',
  },
  {
    shows: 'L-046 --run-path runs the script as __main__',
    args: ['--standalone', '--run_path', script, 'x', '--y'],
    expect: (t, seen) => t.match(seen, { name: '__main__', argv: [script, 'x', '--y'] }),
  },
];

type Allowance = {
  readonly why: string;
  /** Where it applies. @default everywhere */
  readonly when?: (command: Command, torch: Torch) => boolean;
  readonly holds: (theirs: unknown, ours: unknown) => boolean;
};

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const port = (value: unknown) => Number(value) > 0 && Number(value) < 65536;
const isOld = (_: Command, torch: Torch) => torch.release === '1.13';
const isOldLaunch = (command: Command, torch: Torch) =>
  isOld(command, torch) && command.launch === true && !command.args.includes('--use_env');
const isSpeltWithDash = (theirs: unknown, ours: unknown) =>
  JSON.stringify(theirs).replace('--local_rank=', '--local-rank=') === JSON.stringify(ours);
const isRunPath = (command: Command) => command.args.includes('--run_path');

/** Of the environment: variable → why it may differ, and how. */
const allowedVariables: Readonly<Record<string, readonly Allowance[]>> = {
  MASTER_PORT: [
    {
      why: 'chosen by the kernel, anew each round; 1.13 takes 29500 for a plain command',
      holds: (theirs, ours) => port(theirs) && port(ours) && ours !== theirs,
    },
  ],
  MASTER_ADDR: [
    {
      why: 'one node: our store listens on loopback only, so the address is numeric and needs no lookup',
      holds: (theirs, ours) => theirs !== ours && ours === '127.0.0.1',
    },
  ],
  TORCHELASTIC_RUN_ID: [
    {
      why: 'a new random id for each run, of the same form',
      holds: (theirs, ours) => uuid.test(`${theirs}`) && uuid.test(`${ours}`),
    },
    {
      why: 'a plain command on one node acts like --standalone in newer releases only (L-032)',
      when: isOld,
      holds: (theirs, ours) => theirs === 'none' && uuid.test(`${ours}`),
    },
  ],
  TORCHELASTIC_ERROR_FILE: [
    {
      why: 'two random parts and the run id; the shape is the same',
      holds: (theirs, ours) => shape(theirs) === shape(ours),
    },
    {
      why: 'absolute, so that a worker that changes its directory still finds it',
      when: command => command.args.includes('--log_dir'),
      holds: (theirs, ours) => shape(`/it/cwd/${theirs}`) === shape(ours),
    },
  ],
  TORCHELASTIC_USE_AGENT_STORE: [
    {
      why: '1.13 lets rank 0 host the store except with the static backend; ours is always the agent’s',
      when: isOld,
      holds: (theirs, ours) => theirs === 'False' && ours === 'True',
    },
  ],
  TORCHELASTIC_SIGNALS_TO_HANDLE: [
    {
      why: 'newer than 1.13',
      when: isOld,
      holds: (theirs, ours) => theirs === undefined && ours === 'SIGTERM,SIGINT,SIGHUP,SIGQUIT',
    },
  ],
  TORCH_NCCL_ASYNC_ERROR_HANDLING: [
    {
      why: 'the new name of NCCL_ASYNC_ERROR_HANDLING',
      when: isOld,
      holds: (theirs, ours) => theirs === undefined && ours === '1',
    },
  ],
  NCCL_ASYNC_ERROR_HANDLING: [
    {
      why: 'the old name: torch ≥ 2.2 warns of it, 1.13 does without',
      when: isOld,
      holds: (theirs, ours) => theirs === '1' && ours === undefined,
    },
  ],
  REGROUP_ROUND: [
    {
      why: 'ours: the number of the round, which only grows',
      holds: (theirs, ours) => theirs === undefined && /^\d+$/.test(`${ours}`),
    },
  ],
  REGROUP_COOKIE: [
    {
      why: 'ours: by it, whatever a worker left behind is found',
      holds: (theirs, ours) => theirs === undefined && typeof ours === 'string',
    },
  ],
  REGROUP_STORE: [
    {
      why: "ours: the socket that gives the store's shared memory",
      holds: (theirs, ours) => theirs === undefined && `${ours}`.startsWith('@regroup-store-'),
    },
  ],
  REGROUP_SHM: [
    {
      why: 'ours: what to load for shared memory',
      holds: (theirs, ours) => theirs === undefined && `${ours}`.endsWith('/regroup_shm.so'),
    },
  ],
  REGROUP_PYTHONPATH: [
    {
      why: 'ours: where the Python module for shared memory is',
      holds: (theirs, ours) => theirs === undefined && `${ours}`.endsWith('/python'),
    },
  ],
};

/** Of the process: fact → why it may differ, and how. */
const allowedFacts: Readonly<Record<string, readonly Allowance[]>> = {
  deathSignal: [
    {
      why: 'workers of ours die with their agent (L-121, L-122)',
      holds: (theirs, ours) => (theirs === 0 || theirs === 2) && ours === 9,
    },
  ],
  leadsSession: [
    {
      why: 'newer torchrun starts workers in their own session, 1.13 did not (L-065)',
      when: isOld,
      holds: (theirs, ours) => theirs === false && ours === true,
    },
    {
      why: 'torchrun’s function workers are forked by Python, without a session',
      when: (command, torch) => isRunPath(command) && !isOld(command, torch),
      holds: (theirs, ours) => theirs === false && ours === true,
    },
  ],
  leadsGroup: [
    {
      why: 'follows from the session',
      when: (command, torch) => isOld(command, torch) || isRunPath(command),
      holds: (theirs, ours) => theirs === false && ours === true,
    },
  ],
  descriptors: [
    {
      why: 'we tee through a pipe instead of a file that is read behind the worker',
      when: command => command.args.includes('-t'),
      holds: (_, ours) => same(ours, { 0: 'file', 1: 'pipe', 2: 'pipe' }),
    },
    {
      why: 'torchrun’s function workers come from multiprocessing, with its pipes and stdin on /dev/null',
      when: isRunPath,
      holds: (_, ours) => same(ours, { 0: 'file', 1: 'file', 2: 'file' }),
    },
  ],
  commandLine: [
    {
      why: 'function workers are started by multiprocessing there and by our shim here',
      when: isRunPath,
      holds: () => true,
    },
    {
      why: 'since 2.0 launch spells it --local-rank, with a dash',
      when: isOldLaunch,
      holds: isSpeltWithDash,
    },
  ],
  argv: [
    {
      why: 'since 2.0 launch spells it --local-rank, with a dash',
      when: isOldLaunch,
      holds: isSpeltWithDash,
    },
  ],
  path0: [
    {
      why: 'multiprocessing hands down its parent’s sys.path; we give what `python script` gives',
      when: isRunPath,
      holds: (_, ours) => ours === dirname(script),
    },
  ],
};

for (const release of releases) {
  t.test(
    `pain 28: workers see what torchrun (${release}) shows them`,
    { jobs: release === '1.13' ? 1 : 2 },
    async t => {
      const torch = torchOrSkip(t, release);
      if (!torch) return;

      const launchers = { torchrun: torchLauncher(t, torch), regroup: regroupLauncher(torch) };
      const used = new Set<Allowance>();
      // One job at a time with 1.13, whose --standalone takes a fixed port.
      const known = commands.filter(({ only }) => only === undefined || only === release);
      await Promise.all(
        known.map(command =>
          t.test(command.shows, t => compare(t, torch, launchers, command, used)),
        ),
      );

      t.test('no allowance has outlived its difference', async t => {
        const applicable = Object.entries({ ...allowedVariables, ...allowedFacts }).flatMap(
          ([name, allowances]) =>
            allowances
              .filter(({ when }) => !when || known.some(command => when(command, torch)))
              .filter(allowance => !used.has(allowance))
              .map(({ why }) => `${name}: ${why}`),
        );
        t.strictSame(applicable, []);
      });
    },
  );
}

async function compare(
  t: Test,
  torch: Torch,
  launchers: Record<'torchrun' | 'regroup', Launcher>,
  command: Command,
  used: Set<Allowance>,
) {
  const folder = t.testdir({});
  const theirs = await show(t, join(folder, 'torchrun'), torch, launchers.torchrun, command);
  const mine = await show(t, join(folder, 'regroup'), torch, launchers.regroup, command);

  const ranks = Array.from({ length: command.workers ?? 1 }, (_, rank) => `${rank}`);
  t.strictSame(Object.keys(theirs), ranks, 'torchrun starts that many');
  t.strictSame(Object.keys(mine), ranks, 'so do we');
  for (const rank of ranks) {
    const [their, our] = [theirs[rank], mine[rank]];
    if (!their || !our) continue;
    const differences = [
      ...differing(their.env, our.env, allowedVariables, torch, command, used),
      ...differing({ ...their, env: 0 }, { ...our, env: 0 }, allowedFacts, torch, command, used),
    ];
    t.strictSame(differences, [], `worker ${rank} sees the same`);
    command.expect?.(t, our, Number(rank));
  }
}

/** Runs one of the two launchers in a folder of its own; gives what each rank saw. */
async function show(
  t: Test,
  folder: string,
  torch: Torch,
  launcher: Launcher,
  command: Command,
): Promise<Record<string, Seen>> {
  const seen = join(folder, 'seen');
  mkdirSync(seen, { recursive: true });
  symlinkSync(torch.python, join(folder, 'another-python'));

  const ended = await launcher(folder, {
    kind: command.launch ? 'launch' : 'run',
    // 1.13 looks every 5 s only.
    args: ['--monitor_interval=0.05', ...command.args],
    env: { SPECIAL: 'a=b\nnew line, \u00fc', SHOW_DIR: seen, ...command.env },
    ...(command.input === undefined ? {} : { input: command.input }),
  });

  t.equal(ended.code, 0, `${basename(folder)} ends well`) || t.comment(ended.stderr);
  return Object.fromEntries(
    readdirSync(seen)
      .sort()
      .map(file => {
        const text = readFileSync(join(seen, file), 'utf8');
        // The folder is the one thing that each launcher was given differently.
        return [file.replace('.json', ''), JSON.parse(text.replaceAll(folder, '/it')) as Seen];
      }),
  );
}

function differing(
  theirs: Readonly<Record<string, unknown>>,
  ours: Readonly<Record<string, unknown>>,
  allowed: Readonly<Record<string, readonly Allowance[]>>,
  torch: Torch,
  command: Command,
  used: Set<Allowance>,
): { name: string; theirs: unknown; ours: unknown }[] {
  const names = [...new Set([...Object.keys(theirs), ...Object.keys(ours)])].sort();
  return names.flatMap(name => {
    if (same(theirs[name], ours[name])) return [];
    const allowance = allowed[name]?.find(
      ({ when, holds }) => (!when || when(command, torch)) && holds(theirs[name], ours[name]),
    );
    if (!allowance) return [{ name, theirs: theirs[name], ours: ours[name] }];
    used.add(allowance);
    return [];
  });
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** An error file's path without its random parts and the run id. */
function shape(path: unknown): string {
  return `${path}`
    .replace(/torchelastic_[a-z0-9_]{8}\//, 'torchelastic_*/')
    .replace(/\/[^/]+_[a-z0-9_]{8}\/attempt_/, '/RUN_*/attempt_');
}
