import t from 'tap';
import { withDefaults } from '../../../lib/options/launch-options.js';
import type { Env } from '../../../lib/options/scheduler/allotment.js';
import { nodesFromScheduler } from '../../../lib/options/scheduler/from-scheduler.js';

const step: Env = {
  SLURM_JOB_ID: '4711',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NUM_NODES: '4',
  SLURM_STEP_NODELIST: 'gpu[1-4]',
  SLURM_STEP_TASKS_PER_NODE: '1(x4)',
  SLURM_NODEID: '0',
};

t.test('a program that asks gets the options of its step, which launch() accepts', async t => {
  const options = nodesFromScheduler({ env: step });

  t.match(options, {
    minNodes: 4,
    rdzvBackend: 'c10d',
    rdzvEndpoint: 'gpu1:22041',
    nodeRank: 0,
    isHost: true,
    runId: '4711.0',
    scheduler: {
      scheduler: 'Slurm',
      taken: [{ option: 'minNodes', value: '4', from: 'SLURM_STEP_NUM_NODES' }, {}, {}, {}],
    },
  });
  const entrypoint = { script: 'train.py' };
  t.match(withDefaults({ ...options, entrypoint }), { maxNodes: 4, scheduler: options.scheduler });
  t.match(withDefaults({ ...options, entrypoint, minNodes: 2, maxNodes: 4 }), { minNodes: 2 });
});

t.test('it may have fewer nodes than there are, and not more', async t => {
  t.match(nodesFromScheduler({ env: step, nodes: 3 }), { minNodes: 3, rdzvEndpoint: /^gpu1:/ });
  t.strictSame(nodesFromScheduler({ env: step, nodes: 1 }), {});
  t.throws(() => nodesFromScheduler({ env: step, nodes: 5 }), {
    code: 'ERR_OPTION',
    message: 'nodes: the scheduler gives 4, and not 5; give as many at most',
  });
});

t.test('there is nothing where no scheduler says that there are several', async t => {
  t.strictSame(nodesFromScheduler({ env: {} }), {});
  t.strictSame(nodesFromScheduler({ env: { SLURM_JOB_ID: '1', SLURM_NNODES: '2' } }), {});
  t.strictSame(nodesFromScheduler({ env: { JOB_COMPLETION_INDEX: '1' } }), {});
});

t.test('what is not clear is refused', async t => {
  const { SLURM_NODEID: _, ...half } = step;
  t.throws(() => nodesFromScheduler({ env: half }), {
    code: 'ERR_OPTION',
    message:
      'env: SLURM_STEP_ID=0: SLURM_NODEID of this step is missing; give minNodes, nodeRank and rdzvEndpoint yourself',
  });
  t.throws(() => nodesFromScheduler({ env: { JOB_COMPLETION_INDEX: '1' }, nodes: 2 }), {
    message: /^env: JOB_COMPLETION_INDEX=1: pod 0's name isn't known/,
  });
});

t.test('launch() refuses a source that is none', async t => {
  const entrypoint = { script: 'train.py' };
  for (const scheduler of ['Slurm', {}, { scheduler: 'Slurm', taken: [{ option: 1 }] }])
    t.throws(() => withDefaults({ entrypoint, scheduler } as never), { code: 'ERR_OPTION' });
});
