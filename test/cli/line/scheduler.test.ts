import t from 'tap';
import { type ParsedCommand, parseCommand } from '../../../lib/cli/line/args.js';
import type { Env } from '../../../lib/cli/options/spec.js';
import { withDefaults } from '../../../lib/options/launch-options.js';
import { nowhere, type Surroundings } from '../../../lib/options/scheduler/allotment.js';

/** Variables of task 1 of a step on two nodes of a job of three; the rest is what srun sets as well. */
const step: Env = {
  SLURM_JOB_ID: '4711',
  SLURM_JOB_NUM_NODES: '3',
  SLURM_JOB_NODELIST: 'gpu[1-3]',
  SLURM_NNODES: '3',
  SLURM_NODELIST: 'gpu[1-3]',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NUM_NODES: '2',
  SLURM_STEP_NODELIST: 'gpu[2-3]',
  SLURM_STEP_NUM_TASKS: '2',
  SLURM_STEP_TASKS_PER_NODE: '1(x2)',
  SLURM_NODEID: '1',
  SLURM_PROCID: '1',
  SLURM_LOCALID: '0',
  SLURM_LAUNCH_NODE_IPADDR: '10.0.0.1',
  SLURM_SRUN_COMM_HOST: '10.0.0.1',
};
const fromStep = {
  minNodes: 2,
  maxNodes: 2,
  rdzvBackend: 'c10d',
  rdzvEndpoint: 'gpu2:22041',
  nodeRank: 1,
  isHost: false,
  runId: '4711.0',
};
const first: Env = { ...step, SLURM_NODEID: '0', SLURM_PROCID: '0' };

/** As enroot's hook for PyTorch's containers sets them. */
const enroot: Env = {
  MASTER_ADDR: 'gpu2',
  MASTER_PORT: '61175',
  WORLD_SIZE: '2',
  RANK: '1',
  LOCAL_RANK: '0',
};

const trainJob: Env = {
  PET_NNODES: '2',
  PET_NPROC_PER_NODE: 'auto',
  PET_NODE_RANK: '1',
  PET_MASTER_ADDR: 'job-node-0-0.job',
  PET_MASTER_PORT: '29400',
  JOB_COMPLETION_INDEX: '1',
};
const fixed = {
  minNodes: 2,
  maxNodes: 2,
  rdzvBackend: 'static',
  nodeRank: 1,
  rdzvEndpoint: 'job-node-0-0.job:29400',
  runId: 'none',
};

const elasticJob: Env = {
  PET_RDZV_BACKEND: 'c10d',
  PET_RDZV_ENDPOINT: 'job-worker-0:23456',
  PET_RDZV_ID: 'job',
  PET_NNODES: '1:4',
  PET_MAX_RESTARTS: '3',
};
const elastic = {
  minNodes: 1,
  maxNodes: 4,
  rdzvBackend: 'c10d',
  rdzvEndpoint: 'job-worker-0:23456',
  runId: 'job',
};

const pyTorchJob: Env = {
  KUBERNETES_SERVICE_HOST: '10.96.0.1',
  PYTHONUNBUFFERED: '0',
  MASTER_ADDR: 'bert-master-0',
  MASTER_PORT: '23456',
  WORLD_SIZE: '3',
  RANK: '2',
};
const fromPyTorchJob = {
  minNodes: 3,
  maxNodes: 3,
  rdzvBackend: 'c10d',
  rdzvEndpoint: 'bert-master-0:23456',
  nodeRank: 2,
  isHost: false,
  runId: 'bert',
};

const pod = (hostname: string, hosts = ''): Surroundings => ({
  ...nowhere,
  hostname: () => hostname,
  hosts: () => hosts,
});
const indexedPod = pod(
  'train-2',
  '127.0.0.1 localhost\n::1 localhost # train-2.no\n10.8.0.7\ttrain-2.svc.ml.svc.cluster.local\ttrain-2\n',
);
const shell: Surroundings = { ...nowhere, isTerminal: () => true };

const sky: Env = {
  SKYPILOT_NUM_NODES: '2',
  SKYPILOT_NODE_RANK: '0',
  SKYPILOT_NODE_IPS: '10.0.0.4\n10.0.0.5\n',
  SKYPILOT_NUM_GPUS_PER_NODE: '8',
  SKYPILOT_TASK_ID: 'sky-2026-11-30_a_1-0',
};
const lepton: Env = {
  LEPTON_JOB_NAME: 'env-job-98bw',
  LEPTON_JOB_WORKER_PREFIX: 'worker',
  LEPTON_SUBDOMAIN: 'env-job-98bw-job-svc',
  LEPTON_JOB_TOTAL_WORKERS: '4',
  LEPTON_JOB_WORKER_INDEX: '3',
};
const fromLepton = {
  minNodes: 4,
  maxNodes: 4,
  rdzvBackend: 'c10d',
  rdzvEndpoint: 'worker-0.env-job-98bw-job-svc:29400',
  nodeRank: 3,
  isHost: false,
  runId: 'env-job-98bw',
};

const names = [
  'minNodes',
  'maxNodes',
  'rdzvBackend',
  'rdzvEndpoint',
  'nodeRank',
  'isHost',
  'runId',
  'masterAddr',
  'masterPort',
];

function parse(line: string, env: Env, around = nowhere): ParsedCommand {
  const words = `${line} t.py`.split(' ').filter(word => word !== '');
  return parseCommand('regroup', words, env, around);
}

function launchOf(line: string, env: Env, around?: Surroundings) {
  const parsed = parse(line, env, around);
  if (!('options' in parsed)) throw new Error(JSON.stringify(parsed));
  // What the command line accepts must be good enough for whoever launches.
  withDefaults(parsed.options);
  return parsed;
}

function without<T>(
  all: Readonly<Record<string, T>>,
  ...left: readonly string[]
): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => !left.includes(name)));
}

/** The job of one node, alone. */
const alone = {};

const meanings: readonly [
  title: string,
  line: string,
  env: Env,
  nodes: object,
  around?: Surroundings,
][] = [
  ['a step of srun has all of it', '', step, fromStep],
  ['its first node has the server', '', first, { ...fromStep, nodeRank: 0, isHost: true }],
  [
    'another step of the same job has another port and name',
    '',
    { ...step, SLURM_STEP_ID: '1' },
    { ...fromStep, rdzvEndpoint: 'gpu2:22042', runId: '4711.1' },
  ],
  [
    'the next job has another port as well',
    '',
    { ...step, SLURM_JOB_ID: '4712' },
    { ...fromStep, rdzvEndpoint: 'gpu2:22072', runId: '4712.0' },
  ],
  [
    'MN-65 the first name of the list is the first node',
    '',
    { ...step, SLURM_JOB_NODELIST: 'n[3,5,7]', SLURM_STEP_NODELIST: 'n[7,3]' },
    { ...fromStep, rdzvEndpoint: 'n7:22041' },
  ],
  [
    'without the number of tasks on each node that of all will do',
    '',
    without(step, 'SLURM_STEP_TASKS_PER_NODE'),
    fromStep,
  ],
  ['what enroot sets is of no weight', '', { ...step, ...enroot }, fromStep],
  ['a step of one node has one', '', { ...step, SLURM_STEP_NUM_NODES: '1' }, alone],
  [
    'so has srun -n1, whatever its list',
    '',
    { ...step, SLURM_STEP_NUM_NODES: '1', SLURM_STEP_NODELIST: 'gpu2' },
    alone,
  ],
  ['--standalone is one node', '--standalone', step, alone],
  ['so is --nnodes=1', '--nnodes=1', step, alone],
  ['so is PET_NNODES=1:1', '', { ...step, PET_NNODES: '1:1' }, alone],
  [
    'a worker that launches something launches it here',
    '',
    { ...step, TORCHELASTIC_RUN_ID: 'x' },
    alone,
  ],
  ['a range of nodes meets at the same place', '--nnodes=1:2', step, { ...fromStep, minNodes: 1 }],
  [
    'an endpoint that is given is the one, and its server where it says',
    '--rdzv-backend=c10d --rdzv-endpoint=head:7',
    step,
    { ...without(fromStep, 'isHost'), rdzvEndpoint: 'head:7' },
  ],
  ['an id that is given is the one', '--rdzv-id=mine', step, { ...fromStep, runId: 'mine' }],
  [
    'a port that is given is the one',
    '--master-port=7',
    step,
    { ...fromStep, rdzvEndpoint: 'gpu2:7' },
  ],
  [
    'a rank that is given is the one, and the server stays where it is',
    '--node-rank=0',
    step,
    { ...fromStep, nodeRank: 0 },
  ],
  [
    'a host that is given is the one',
    '--rdzv-conf=join_timeout=60,is_host=1',
    step,
    { ...fromStep, isHost: true },
  ],
  [
    'static has the rank of the step',
    '--nnodes=2 --master-addr=head',
    step,
    { ...fixed, rdzvEndpoint: 'head:29500' },
  ],
  [
    'static can have the place of the step',
    '--rdzv-backend=static',
    step,
    { ...fixed, rdzvEndpoint: 'gpu2:22041', runId: '4711.0' },
  ],
  [
    'etcd has its own place',
    '--rdzv-backend=etcd --rdzv-endpoint=e:1',
    step,
    { ...without(fromStep, 'isHost'), rdzvBackend: 'etcd', rdzvEndpoint: 'e:1' },
  ],
  [
    'which may be at each node',
    '--rdzv-backend=etcd --rdzv-endpoint=localhost:1',
    step,
    { ...without(fromStep, 'isHost'), rdzvBackend: 'etcd', rdzvEndpoint: 'localhost:1' },
  ],
  [
    'nodes of two steps are not numbered by one of them',
    '--nnodes=4 --rdzv-backend=c10d --rdzv-endpoint=head',
    step,
    {
      minNodes: 4,
      maxNodes: 4,
      rdzvBackend: 'c10d',
      rdzvEndpoint: 'head:29400',
      runId: 'none',
      nodeRank: 1,
    },
  ],
  [
    'MN-67 a TrainJob is static',
    '',
    { ...trainJob, KUBERNETES_SERVICE_HOST: '10.96.0.1' },
    fixed,
    indexedPod,
  ],
  ['MN-67 an elastic PyTorchJob is c10d', '', elasticJob, elastic],
  [
    'MN-67 PET_STANDALONE of nothing is of no weight beside several nodes',
    '',
    { ...elasticJob, PET_STANDALONE: '' },
    elastic,
  ],
  [
    'MN-67 what else a pod is told neither is',
    '',
    { ...elasticJob, ...pyTorchJob, PET_MASTER_ADDR: 'bert-master-0', PET_MASTER_PORT: '1' },
    elastic,
    pod('bert-worker-1'),
  ],
  ['a PyTorchJob without PET_', '', pyTorchJob, fromPyTorchJob, pod('bert-worker-1')],
  [
    'its master, that old operators call localhost',
    '',
    { ...pyTorchJob, RANK: '0', MASTER_ADDR: 'localhost' },
    { ...fromPyTorchJob, nodeRank: 0, isHost: true },
    pod('bert-master-0'),
  ],
  [
    'RANK and WORLD_SIZE of a pod with another name are none of our business',
    '',
    pyTorchJob,
    alone,
    pod('bert-2'),
  ],
  [
    'nor are they with another number',
    '',
    { ...pyTorchJob, RANK: '1' },
    alone,
    pod('bert-worker-1'),
  ],
  ['nor outside of a cluster', '', without(pyTorchJob, 'KUBERNETES_SERVICE_HOST'), alone],
  ['a pod of an Indexed Job is one node', '', { JOB_COMPLETION_INDEX: '2' }, alone, indexedPod],
  [
    'with a number of nodes it is one of them',
    '--nnodes=4',
    { JOB_COMPLETION_INDEX: '2' },
    {
      minNodes: 4,
      maxNodes: 4,
      rdzvBackend: 'c10d',
      rdzvEndpoint: 'train-0.svc.ml.svc.cluster.local:29400',
      nodeRank: 2,
      isHost: false,
      runId: 'train',
    },
    indexedPod,
  ],
  [
    'a host name with all of its domain will do',
    '',
    { JOB_COMPLETION_INDEX: '0', PET_NNODES: '2' },
    {
      minNodes: 2,
      maxNodes: 2,
      rdzvBackend: 'c10d',
      rdzvEndpoint: 'js-w-0-0.js.ml.svc:29400',
      nodeRank: 0,
      isHost: true,
      runId: 'js-w-0',
    },
    pod('js-w-0-0.js.ml.svc'),
  ],
  [
    'SkyPilot',
    '',
    sky,
    {
      minNodes: 2,
      maxNodes: 2,
      rdzvBackend: 'c10d',
      rdzvEndpoint: '10.0.0.4:29400',
      nodeRank: 0,
      isHost: true,
      runId: 'sky-2026-11-30_a_1-0',
    },
  ],
  ['SkyPilot with one node', '', { ...sky, SKYPILOT_NUM_NODES: '1' }, alone],
  ['Lepton', '', lepton, fromLepton],
  [
    'Slurm is nearer than what called srun',
    '',
    { ...step, ...sky, SKYPILOT_NODE_RANK: '1' },
    fromStep,
  ],
];
for (const [title, line, env, nodes, around] of meanings) {
  t.test(`${line}: ${title}`, async t => {
    const { options } = launchOf(line, env, around);
    const given = Object.entries(options).filter(([name]) => names.includes(name));

    t.match(Object.fromEntries(given), nodes);
    const expected = Object.keys(nodes);
    const others = given.map(([name]) => name).filter(name => !expected.includes(name));
    t.strictSame(
      others.filter(name => name !== 'joinTimeoutMs'),
      [],
    );
  });
}

t.test('MN-67 no variable of a pod reaches a worker as its own rank', async t => {
  const { options } = launchOf('--nproc-per-node=1', pyTorchJob, pod('bert-worker-1'));

  // They're inherited, and then overwritten: test/workers/env.test.ts.
  t.equal(options.env?.RANK, '2');
  t.equal(options.nodeRank, 2);
});

t.test('what was taken from where is told, as one would have to give it', async t => {
  const { options, settings } = launchOf('--rdzv-conf=join_timeout=60', step);

  t.strictSame(options.scheduler, {
    scheduler: 'Slurm',
    taken: [
      { option: '--nnodes', value: '2', from: 'SLURM_STEP_NUM_NODES' },
      { option: '--node-rank', value: '1', from: 'SLURM_NODEID' },
      {
        option: '--rdzv-endpoint',
        value: 'gpu2:22041',
        from: 'SLURM_STEP_NODELIST, SLURM_JOB_ID',
      },
      { option: '--rdzv-backend', value: 'c10d', from: 'SLURM_STEP_NODELIST' },
      { option: '--rdzv-conf', value: 'join_timeout=60,is_host=0', from: 'SLURM_NODEID' },
      { option: '--rdzv-id', value: '4711.0', from: 'SLURM_JOB_ID, SLURM_STEP_ID' },
    ],
  });
  t.strictSame(
    settings.given.map(({ name, from }) => [name, from]),
    options.scheduler?.taken.map(({ option, from }) => [option, from]),
  );
});

t.test('nothing is told where nothing was taken', async t => {
  for (const line of [
    '--standalone',
    '--nnodes=1',
    '--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=h',
  ])
    t.notOk('scheduler' in launchOf(line, step).options, line);
  t.notOk('scheduler' in launchOf('', {}).options);
});

const notes: readonly [title: string, line: string, env: Env, note: RegExp | undefined][] = [
  [
    'the script of sbatch runs on one node',
    '',
    without(step, 'SLURM_STEP_ID'),
    /^job 4711 of Slurm has 3 nodes, but srun did not start this command: .* `srun /,
  ],
  ['so does the shell of salloc', '', { ...step, SLURM_STEP_ID: '4294967290' }, /has 3 nodes/],
  [
    'so does a script that was submitted within another step',
    '',
    { ...step, SLURM_JOB_NODELIST: 'gpu[7-8]' },
    /has 3 nodes/,
  ],
  [
    'a job of one node needs no word',
    '',
    { SLURM_JOB_ID: '4711', SLURM_JOB_NUM_NODES: '1', SLURM_NODEID: '0' },
    undefined,
  ],
  ['nor does one node that is asked for', '--nnodes=1', without(step, 'SLURM_STEP_ID'), undefined],
  [
    'nor do several',
    '--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=gpu1',
    without(step, 'SLURM_STEP_ID'),
    undefined,
  ],
  [
    'an endpoint on this machine is one node',
    '--rdzv-backend=c10d --rdzv-endpoint=localhost:0',
    step,
    /^one node: localhost is another machine on each node, of which there are 2 \(SLURM_STEP_NUM_NODES\)$/,
  ],
  [
    'PET_STANDALONE of nothing is ignored aloud',
    '',
    { ...elasticJob, PET_STANDALONE: '' },
    /^PET_STANDALONE is empty and ignored/,
  ],
];
for (const [title, line, env, note] of notes) {
  t.test(`${line}: ${title}${note === undefined ? '' : ', with one line'}`, async t => {
    const { options, settings } = launchOf(line, env);

    t.match(
      settings.notices.map(({ text }) => text),
      note === undefined ? [] : [note],
    );
    t.equal(settings.notices.length, note === undefined ? 0 : 1);
    if (!('PET_NNODES' in env) && !line.includes('nnodes=2')) t.equal(options.maxNodes ?? 1, 1);
  });
}

const refusals: readonly [
  title: string,
  line: string,
  env: Env,
  text: RegExp,
  around?: Surroundings,
][] = [
  [
    'half a set',
    '',
    without(step, 'SLURM_STEP_NODELIST'),
    /error: SLURM_STEP_ID=0: SLURM_STEP_NODELIST of this step is missing \(accepted: --nnodes=1, or --nnodes=N, --node-rank and --rdzv-endpoint\)$/,
  ],
  ['without a number', '', without(step, 'SLURM_NODEID'), /SLURM_NODEID of this step is missing/],
  [
    'of a job of several, where the step is silent',
    '',
    without(step, 'SLURM_STEP_NUM_NODES', 'SLURM_STEP_NODELIST'),
    /SLURM_STEP_NUM_NODES of this step is missing/,
  ],
  [
    'a list that is none',
    '',
    { ...step, SLURM_STEP_NODELIST: 'gpu[2-' },
    /SLURM_STEP_NODELIST=gpu\[2-: it is no list of nodes/,
  ],
  [
    'a list of another length',
    '',
    { ...step, SLURM_STEP_NODELIST: 'gpu[1-3]' },
    /it names 3, and SLURM_STEP_NUM_NODES=2/,
  ],
  [
    'a number that is too high',
    '',
    { ...step, SLURM_NODEID: '2' },
    /SLURM_NODEID=2: it is no number below 2/,
  ],
  [
    'several tasks on a node',
    '',
    { ...step, SLURM_STEP_TASKS_PER_NODE: '8(x2)', SLURM_STEP_NUM_TASKS: '16' },
    /SLURM_STEP_TASKS_PER_NODE=8\(x2\): .*several times on a node \(accepted: --ntasks-per-node=1 of srun/,
  ],
  [
    'more tasks than nodes',
    '',
    { ...without(step, 'SLURM_STEP_TASKS_PER_NODE'), SLURM_STEP_NUM_TASKS: '3' },
    /SLURM_STEP_NUM_TASKS=3/,
  ],
  [
    'mpirun in between',
    '',
    { ...step, OMPI_COMM_WORLD_SIZE: '2' },
    /OMPI_COMM_WORLD_SIZE=2: mpirun has started/,
  ],
  [
    'a command that somebody types into a shell of the step',
    '',
    step,
    /SLURM_STEP_NUM_NODES=2: stdin is a terminal.* \(accepted: --nnodes=1, or --nnodes=2\)$/,
    shell,
  ],
  [
    'more nodes than there are',
    '--nnodes=4',
    step,
    /SLURM_STEP_NUM_NODES=2: it is less than --nnodes=4 \(accepted: as many, or --rdzv-endpoint/,
  ],
  [
    'a static rank that is not that of the place',
    '--rdzv-backend=static --node-rank=0',
    step,
    /SLURM_NODEID=1: --node-rank=0 is another number/,
  ],
  [
    'MN-37 localhost for several nodes',
    '--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=localhost:29400',
    step,
    /--rdzv-endpoint=localhost:29400: localhost is another machine on each node, of which there are 2/,
  ],
  [
    'fewer addresses than nodes',
    '',
    { ...sky, SKYPILOT_NODE_IPS: '10.0.0.4' },
    /SKYPILOT_NUM_NODES=2: SKYPILOT_NODE_IPS has 1 addresses/,
  ],
  [
    'a node without a rank',
    '',
    without(sky, 'SKYPILOT_NODE_RANK'),
    /SKYPILOT_NODE_RANK is missing/,
  ],
  [
    'a worker without a prefix',
    '',
    without(lepton, 'LEPTON_SUBDOMAIN'),
    /LEPTON_SUBDOMAIN is missing/,
  ],
  [
    'two schedulers that contradict each other',
    '',
    { ...step, ...lepton },
    /SLURM_STEP_NUM_NODES=2: LEPTON_JOB_TOTAL_WORKERS=4 says something else/,
  ],
  [
    'a pod that nobody finds',
    '--nnodes=2',
    { JOB_COMPLETION_INDEX: '2' },
    /JOB_COMPLETION_INDEX=2: pod 0's name isn't known.*\(accepted: --rdzv-endpoint=HOST:PORT/,
    pod('train-2'),
  ],
  [
    'a pod without its number',
    '--nnodes=2',
    { JOB_COMPLETION_INDEX: '2' },
    /JOB_COMPLETION_INDEX=2/,
    pod('node7.example.org'),
  ],
];
for (const [title, line, env, text, around] of refusals) {
  t.test(`${line}: ${title} is refused in one line`, async t => {
    const parsed = parse(line, env, around);

    t.match(parsed, { do: 'error', exitCode: 1 });
    if (parsed.do !== 'error') return;
    t.match(parsed.text, text);
    t.notMatch(parsed.text, /\n/);
  });
}

t.test('flags that say enough end each of these doubts', async t => {
  const c10d = '--rdzv-backend=c10d --rdzv-endpoint=head --rdzv-id=x --node-rank=1';
  for (const [title, , env, , around] of refusals) {
    t.match(parse('--nnodes=1', env, around), { do: 'run' }, title);
    t.match(parse(`--nnodes=2 ${c10d}`, env, around), { do: 'run' }, title);
  }
});

t.test('a shell that says how many nodes there are is told the rest', async t => {
  t.match(launchOf('--nnodes=2', step, shell).options, fromStep);
});
