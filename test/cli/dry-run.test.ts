import t from 'tap';
import { describePlan } from '../../lib/cli/dry-run.js';
import type { CliSettings } from '../../lib/cli/settings.js';
import type { LaunchPlan } from '../../lib/launch.js';

const settings: CliSettings = {
  signalsToHandle: ['SIGTERM', 'SIGINT'],
  forwardSignals: [],
  namedSignals: [],
  exitCode: 'torchrun',
  logLevel: 30,
  notices: [],
  banner: [],
};

const plan: LaunchPlan = {
  name: 'train.py',
  binary: 'python3',
  isFunction: false,
  runId: 'job',
  localWorldSize: 1,
  worldSize: 1,
  runFolder: '/tmp/x/job_XXXXXXXX',
  masterAddr: '127.0.0.1',
  masterPort: 29500,
  agentStore: true,
  maxRestarts: 3,
  shutdownTimeoutMs: 30_000,
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
  cwd             /work
  stdin           inherit
  signals         SIGTERM, SIGINT
  stop signal to  each worker
  SIGKILL after   30 s

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
