import t from 'tap';
import { parseCommand } from '../../../lib/cli/line/args.js';
import type { CliSettings } from '../../../lib/cli/line/settings.js';
import { optionsOf } from '../../../lib/cli/options/table.js';
import { describePlan, unknownYet } from '../../../lib/cli/text/dry-run.js';
import type { LaunchPlan } from '../../../lib/launch.js';

const settings: CliSettings = {
  signalsToHandle: ['SIGTERM', 'SIGINT'],
  forwardSignals: [],
  namedSignals: [],
  exitCode: 'torchrun',
  logLevel: 30,
  notices: [],
  given: [
    { name: '--max-restarts', value: '3', from: 'PET_MAX_RESTARTS' },
    { name: '--memory-max', value: '100M' },
    { name: '--on-exit', value: '3=fail;4=restart' },
    { name: '--reset-on-progress' },
  ],
  banner: [],
};

const plan: LaunchPlan = {
  name: 'train.py',
  binary: 'python3',
  isFunction: false,
  warnings: [],
  interpreter: { path: '/usr/bin/python3', because: 'python3 on PATH' },
  runId: 'job',
  localWorldSize: 1,
  worldSize: 1,
  runFolder: '/tmp/x/job_XXXXXXXX',
  masterAddr: '127.0.0.1',
  masterPort: 29500,
  agentStore: true,
  maxRestarts: 3,
  shutdownTimeoutMs: 30_000,
  graceMs: {
    failure: 1500,
    signal: 30_000,
    caller: 30_000,
    hang: 5000,
    preempt: 30_000,
    membership: 30_000,
  },
  signalTarget: 'leader',
  cwd: '/work',
  stdin: 'inherit',
  workers: [
    {
      rank: 0,
      localRank: 0,
      argv: ['python3', '-u', 'train.py', 'two words', "it's", '--lr=0.1'],
      env: { RANK: '0', ROLE_NAME: 'my role' },
      stdout: {
        to: 'pipe',
        file: '/tmp/x/out.log',
        console: 1,
        prefix: '[default0]:',
        filters: ['loss'],
        filteredFile: '/tmp/x/filtered.log',
      },
      stderr: { to: 'inherit' },
      errorFile: '/tmp/x/error.json',
    },
  ],
};

t.test('a dry run prints argv, environment, ranks, addresses and files', t => {
  t.equal(
    describePlan(plan, settings),
    `nothing is started (--dry-run)

  run id          job
  workers         1 on this node, 1 in the job
  max restarts    3
  master          127.0.0.1:29500
  store           served by regroup
  log folder      /tmp/x/job_XXXXXXXX
  interpreter     /usr/bin/python3 (python3 on PATH)
  cwd             /work
  stdin           inherit
  signals         SIGTERM, SIGINT
  stop signal to  each worker
  SIGKILL after   30 s; failure: 1.5 s; hang: 5 s
  options         --max-restarts=3 (PET_MAX_RESTARTS)
                  --memory-max=100M
                  --on-exit='3=fail;4=restart'
                  --reset-on-progress

worker 0 (local 0)
  argv            python3 -u train.py 'two words' 'it'\\''s' --lr=0.1
  stdout          /tmp/x/out.log + console, lines behind '[default0]:' + /tmp/x/filtered.log, matching lines
  stderr          as our own
  error file      /tmp/x/error.json
  env             RANK=0
                  ROLE_NAME='my role'
`,
  );
  t.end();
});

t.test('a port that the kernel will choose is said to be one', t => {
  t.match(
    describePlan({ ...plan, masterPort: 0 }, settings),
    /master +127.0.0.1:\(a free port, anew in each round\)/,
  );
  t.end();
});

t.test('what several nodes agree on when they meet is said not to be known yet', t => {
  const entrypoint = { script: 't.py' };

  t.match(unknownYet({ entrypoint, minNodes: 2 }), [/^ranks, the world size and the master/]);
  t.match(unknownYet({ entrypoint, maxNodes: 2 }), [/for this node alone$/]);
  t.strictSame(unknownYet({ entrypoint }), []);
  t.end();
});

t.test('every kind of stream has its words', t => {
  const [worker] = plan.workers;
  if (worker === undefined) throw new Error('the plan has a worker');
  const stdoutLine = (stdout: (typeof worker)['stdout']) =>
    /stdout +(.*)/.exec(describePlan({ ...plan, workers: [{ ...worker, stdout }] }, settings))?.[1];

  t.equal(stdoutLine({ to: 'inherit' }), 'as our own');
  t.equal(stdoutLine({ to: 'null' }), '/dev/null');
  t.equal(stdoutLine({ to: 'file', path: '/a' }), '/a');
  t.equal(stdoutLine({ to: 'pipe', file: '/a' }), '/a');
  t.equal(stdoutLine({ to: 'pipe', console: 1 }), "console, lines behind ''");
  t.end();
});

/** Whatever is needed for an option to be accepted; by default any time or number is a value. */
const samples: Readonly<Record<string, { value?: string; beside?: string[] }>> = {
  nnodes: { value: '1:1' },
  nproc_per_node: { value: '2' },
  rdzv_backend: { value: 'c10d' },
  rdzv_endpoint: { value: 'localhost:1' },
  rdzv_id: { value: 'job' },
  rdzv_conf: { value: 'timeout=5' },
  start_method: { value: 'fork' },
  event_log_handler: { value: 'console' },
  metrics: { value: '9400' },
  role: { value: 'trainer' },
  standby: { value: 'auto' },
  standby_modules: { value: 'torch' },
  log_dir: { value: '/logs' },
  redirects: { value: '0:1,1:3' },
  tee: { value: '3' },
  duplicate_stdout_filters: { value: 'loss' },
  duplicate_stderr_filters: { value: 'loss' },
  master_addr: { value: 'localhost' },
  local_addr: { value: '127.0.0.1' },
  numa_binding: { value: 'node' },
  signals_to_handle: { value: 'SIGTERM' },
  log_line_prefix_template: { value: '$rank' },
  local_ranks_filter: { value: '0' },
  node_rank: { value: '0' },
  bind: { value: 'auto' },
  numa_memory: { value: 'bind', beside: ['--bind=auto'] },
  reserve_cores: { value: '1', beside: ['--bind=auto'] },
  threads_per_core: { value: '1', beside: ['--bind=auto'] },
  numa_fallback: { beside: ['--bind=auto'] },
  omp_places: { beside: ['--bind=auto'] },
  rlimit: { value: 'nofile=100' },
  ionice: { value: 'idle' },
  umask: { value: '027' },
  memory_max: { value: '100M' },
  memory_high: { value: '100M' },
  on_exit: { value: '3=fail' },
  on_pattern: { value: 'boom=fail' },
  restart_window: { value: '3/10m' },
  strikes: { value: '3/10m' },
  back_off: { value: '1s:60s' },
  expect: { value: 'step', beside: ['--every=1m'] },
  every: { value: '1m', beside: ['--expect=step'] },
  expect_rule: { value: 'grows', beside: ['--expect=step', '--every=1m'] },
  on_hang: { value: 'dump', beside: ['--hang-silence=1m'] },
  dump_signal: { value: 'USR1', beside: ['--hang-silence=1m'] },
  agent_stall: { value: '10s' },
  port_range: { value: '29400-29409' },
  agent_store: { value: 'on' },
  control: { value: 'on' },
  signal_target: { value: 'group' },
  grace: { value: 'failure=5s' },
  forward_signals: { value: 'USR1' },
  preempt_signal: { value: 'USR1' },
  preempt_file: { value: '/run/notice' },
  preempt_url: { value: 'http://metadata/notice' },
  hook_timeout: { value: '5s', beside: ['--pre-start=true'] },
  exit_code: { value: 'worker' },
};
/** What prints something else, or is refused whatever its value. */
const others = ['help', 'version', 'dry_run', 'logs_specs', 'print_completion'];

t.test('F-U5: each option that is given is in the dry run', t => {
  for (const { dest, names, takes } of optionsOf('regroup')) {
    if (others.includes(dest)) continue;
    const name = names.find(each => each.startsWith('--')) ?? '';
    const { value = '1', beside = [] } = samples[dest] ?? {};
    const option = takes === 'flag' ? name : `${name}=${value}`;

    const parsed = parseCommand('regroup', ['--dry-run', ...beside, option, 'train.py'], {});

    if (parsed.do !== 'dry-run') {
      t.fail(`${option} is refused; has it a sample?`, { parsed });
      continue;
    }
    const lines = describePlan(plan, parsed.settings).split('\n');
    const shown = lines.find(
      line =>
        line
          .replaceAll("'", '')
          .trim()
          .replace(/^options +/, '') === option,
    );
    t.ok(shown, option);
  }
  t.end();
});

t.test('F-U5: so is one that a variable gives, with its name', t => {
  const env = { PET_MAX_RESTARTS: '2', PET_STANDALONE: '', PET_MODULE: '0', PET_ROLE: 'a' };
  const parsed = parseCommand('regroup', ['--dry-run', '--role=b', 'train.py'], env);
  if (parsed.do !== 'dry-run') throw new Error('it is a dry run');

  const text = describePlan(plan, parsed.settings);

  t.match(text, /--max-restarts=2 \(PET_MAX_RESTARTS\)\n/);
  t.match(text, /--standalone \(PET_STANDALONE\)\n/);
  t.match(text, /--role=b\n/);
  t.notMatch(text, '--module');
  t.end();
});
