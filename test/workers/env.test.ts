import t from 'tap';
import { inheritedEntries, ompDefault, type Round, workerEnv } from '../../lib/workers/env.js';

const round: Round = {
  round: 3,
  restartCount: 2,
  maxRestarts: 4,
  runId: 'job-7',
  role: 'trainer',
  groupRank: 1,
  groupWorldSize: 2,
  localWorldSize: 2,
  firstRank: 4,
  worldSize: 6,
  firstRoleRank: 1,
  roleWorldSize: 3,
  masterAddr: 'node0',
  masterPort: 29500,
  agentStore: true,
  local: undefined,
  cookie: 'c00kie',
};

const options = { inherited: {}, errorFile: '/logs/1/error.json', virtualLocalRank: false };

t.test('L-036 L-037 L-038 T-090 a worker gets every variable of the contract', t => {
  t.strictSame(workerEnv(round, 1, options), {
    LOCAL_RANK: '1',
    RANK: '5',
    GROUP_RANK: '1',
    ROLE_RANK: '2',
    ROLE_NAME: 'trainer',
    LOCAL_WORLD_SIZE: '2',
    WORLD_SIZE: '6',
    GROUP_WORLD_SIZE: '2',
    ROLE_WORLD_SIZE: '3',
    MASTER_ADDR: 'node0',
    MASTER_PORT: '29500',
    TORCHELASTIC_RESTART_COUNT: '2',
    TORCHELASTIC_MAX_RESTARTS: '4',
    TORCHELASTIC_RUN_ID: 'job-7',
    TORCHELASTIC_USE_AGENT_STORE: 'True',
    TORCHELASTIC_SIGNALS_TO_HANDLE: 'SIGTERM,SIGINT,SIGHUP,SIGQUIT',
    TORCH_NCCL_ASYNC_ERROR_HANDLING: '1',
    TORCHELASTIC_ERROR_FILE: '/logs/1/error.json',
    OMP_NUM_THREADS: '1',
    REGROUP_COOKIE: 'c00kie',
    REGROUP_ROUND: '3',
    REGROUP_STORE: '',
  });
  t.end();
});

t.test('F-F15 L-037 where rank 0 serves the store, workers are told so', t => {
  const env = workerEnv({ ...round, agentStore: false }, 1, options);

  t.equal(env.TORCHELASTIC_USE_AGENT_STORE, 'False');
  t.equal(env.MASTER_PORT, '29500');
  t.end();
});

t.test('a worker is told where shared memory is, and what to load for it', t => {
  const env = workerEnv({ ...round, local: '@name' }, 0, options);
  t.equal(env.REGROUP_STORE, '@name');
  t.match(env.REGROUP_PYTHONPATH, /\/python$/);
  t.match(env.REGROUP_SHM, /\/regroup_shm\.so$/);
  t.end();
});

t.test('L-038 a value of TORCH_NCCL_ASYNC_ERROR_HANDLING that the user set is kept', t => {
  const env = workerEnv(round, 0, {
    ...options,
    inherited: { TORCH_NCCL_ASYNC_ERROR_HANDLING: '3' },
  });
  t.equal(env.TORCH_NCCL_ASYNC_ERROR_HANDLING, '3');
  t.end();
});

t.test('the error file is empty where logging is off', t => {
  const env = workerEnv(round, 0, { ...options, errorFile: undefined });
  t.equal(env.TORCHELASTIC_ERROR_FILE, '');
  t.end();
});

t.test('L-034 L-035 OMP_NUM_THREADS is 1 only for several workers and only if unset', t => {
  for (const [inherited, nproc, expected] of [
    [{}, 1, undefined],
    [{}, 2, '1'],
    [{ OMP_NUM_THREADS: '' }, 2, undefined],
    [{ OMP_NUM_THREADS: '8' }, 2, undefined],
    [{ OMP_NUM_THREADS: undefined }, 2, '1'],
  ] as const) {
    t.equal(ompDefault(inherited, nproc), expected, JSON.stringify([inherited, nproc]));
  }
  t.end();
});

t.test('L-040 a virtual local rank is 0 and sees one device', t => {
  for (const [visible, localRank, expected] of [
    [undefined, 1, '1'],
    ['4,5', 0, '4'],
    ['4, 5 ', 1, '5'],
    ['GPU-aa,MIG-bb', 1, 'MIG-bb'],
    ['', 0, ''],
  ] as const) {
    const inherited = { CUDA_VISIBLE_DEVICES: visible };
    const env = workerEnv(round, localRank, { ...options, inherited, virtualLocalRank: true });
    t.equal(env.LOCAL_RANK, '0');
    t.equal(env.RANK, String(4 + localRank));
    t.equal(env.CUDA_VISIBLE_DEVICES, expected, `${visible}, worker ${localRank}`);
  }
  t.end();
});

t.test('L-040 a virtual local rank beyond the visible devices is an error', t => {
  const inherited = { CUDA_VISIBLE_DEVICES: '7' };
  t.throws(() => workerEnv(round, 1, { ...options, inherited, virtualLocalRank: true }), {
    code: 'ERR_VISIBLE_DEVICES',
    message: 'local_rank 1 exceeds available GPUs in CUDA_VISIBLE_DEVICES=7',
  });
  t.end();
});

t.test('L-039 L-104 all else is inherited, but for what each worker has of its own', t => {
  const inherited = { RANK: '9', PET_NNODES: '1', PATH: '/bin', EMPTY: '', GONE: undefined };
  t.strictSame(inheritedEntries(inherited, { RANK: '0' }), ['PET_NNODES=1', 'PATH=/bin', 'EMPTY=']);
  t.end();
});
