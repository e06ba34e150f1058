import {
  type Conflict,
  conflict,
  type Env,
  type Finding,
  flagsInstead,
  given,
  missingOf,
  nothing,
  rankOf,
  whole,
} from './allotment.js';
import { expandNodeList } from './node-list.js';

/** Numbers from here on are those of no step of srun's: the batch script's, an interactive shell's. @source Slurm 22.05, slurm.h */
const firstSpecialStep = 0xffff_fff0;

/** A step's variables. They're used together: the job's may be about more nodes, or others. */
const stepNames = ['SLURM_STEP_NUM_NODES', 'SLURM_STEP_NODELIST', 'SLURM_NODEID'];

/**
 * What Slurm has given the step that this process is a task of. Outside of srun's steps a command is one of one node,
 * however many the job has: in the script of sbatch, in the shell of salloc.
 *
 * `SLURM_LAUNCH_NODE_IPADDR` and `SLURM_SRUN_COMM_HOST` are where srun runs, which may be a login node.
 *
 * @source Slurm 25.05, srun, output environment variables; src/common/env.c
 */
export function findInSlurm(env: Env): Finding {
  const { SLURM_JOB_ID: job = '', SLURM_STEP_ID: step } = env;
  if (job === '') return nothing;
  const stepNumber = whole(step);
  if (stepNumber === undefined || stepNumber >= firstSpecialStep) return outsideOfSteps(env);

  const nodes = whole(env.SLURM_STEP_NUM_NODES);
  const names = expandNodeList(env.SLURM_STEP_NODELIST ?? '');
  if (isOne(nodes, names, env)) return nothing;
  const missing = missingOf(env, stepNames);
  if (missing !== undefined)
    return conflict(given(env, 'SLURM_STEP_ID'), `${missing} of this step is missing`);
  const list = given(env, 'SLURM_STEP_NODELIST');
  if (nodes === undefined)
    return conflict(given(env, 'SLURM_STEP_NUM_NODES'), 'it is no number of nodes');
  if (names === undefined) return conflict(list, 'it is no list of nodes');
  if (isOfAnotherJob(names, env)) return outsideOfSteps(env);
  if (names.length !== nodes)
    return conflict(list, `it names ${names.length}, and SLURM_STEP_NUM_NODES=${nodes}`);
  const rank = rankOf(env, 'SLURM_NODEID', nodes);
  if ('found' in rank) return rank;

  return (
    startedTwice(env, nodes) ?? {
      found: 'nodes',
      allotment: {
        scheduler: 'Slurm',
        nodes: { value: nodes, from: 'SLURM_STEP_NUM_NODES' },
        rank,
        first: { value: names[0] ?? '', from: 'SLURM_STEP_NODELIST' },
        port: { value: portOf(whole(job) ?? 0, stepNumber), from: 'SLURM_JOB_ID' },
        id: { value: `${job}.${stepNumber}`, from: 'SLURM_JOB_ID, SLURM_STEP_ID' },
      },
    }
  );
}

/** Whether there's one node. Where the step doesn't say, the job may. */
function isOne(nodes: number | undefined, names: readonly string[] | undefined, env: Env): boolean {
  const { SLURM_STEP_NUM_NODES: number = '', SLURM_STEP_NODELIST: list = '' } = env;
  if (number !== '') return nodes === 1;
  if (list !== '') return names?.length === 1;
  return (nodesOfJob(env) ?? 1) === 1 && (whole(env.SLURM_NODEID) ?? 0) === 0;
}

function outsideOfSteps(env: Env): Finding {
  const nodes = nodesOfJob(env) ?? 1;
  if (nodes <= 1) return nothing;
  const what = `job ${env.SLURM_JOB_ID} of Slurm has ${nodes} nodes`;
  return {
    found: 'nothing',
    note: `${what}, but srun did not start this command: it runs on this node alone; \`srun --ntasks-per-node=1 regroup …\` runs it on all`,
  };
}

function nodesOfJob({ SLURM_JOB_NUM_NODES, SLURM_NNODES }: Env): number | undefined {
  return whole(SLURM_JOB_NUM_NODES) ?? whole(SLURM_NNODES);
}

/** Whether the step is that of another job, within which this one was submitted: sbatch passes on what it finds. */
function isOfAnotherJob(
  names: readonly string[],
  { SLURM_JOB_NODELIST = '', SLURM_HET_SIZE }: Env,
): boolean {
  // A part of a heterogeneous job has a list of its own.
  const ofJob = SLURM_HET_SIZE === undefined ? expandNodeList(SLURM_JOB_NODELIST) : undefined;
  if (ofJob === undefined) return false;
  const set = new Set(ofJob);
  return names.some(name => !set.has(name));
}

/** What starts the command more than once on a node, or on some nodes only. */
function startedTwice(env: Env, nodes: number): Conflict | undefined {
  const { SLURM_STEP_TASKS_PER_NODE: perNode, SLURM_STEP_NUM_TASKS: tasks } = env;
  const name = perNode === undefined ? 'SLURM_STEP_NUM_TASKS' : 'SLURM_STEP_TASKS_PER_NODE';
  const isOnce =
    perNode === undefined ? whole(tasks) === nodes : /^1(\(x\d+\))?(,1(\(x\d+\))?)*$/.test(perNode);
  if (!isOnce) {
    const why = 'srun starts this command several times on a node';
    return conflict(given(env, name), why, `--ntasks-per-node=1 of srun, or ${flagsInstead}`);
  }
  // Their own daemons are the step's tasks then, and not on all nodes.
  const mpi = ['OMPI_COMM_WORLD_SIZE', 'MPI_LOCALNRANKS'].find(each => env[each] !== undefined);
  if (mpi === undefined) return undefined;
  const why = 'mpirun has started this command, which knows other nodes than the step of Slurm';
  return conflict(
    given(env, mpi),
    why,
    `srun --ntasks-per-node=1 in its place, or ${flagsInstead}`,
  );
}

/**
 * A port that the job's nodes have in common, and its neighbour on a shared node hasn't: below those that the kernel gives
 * to connections (32768) and those of Kubernetes services (30000), and none of torchrun's. Steps of one job have others.
 */
function portOf(job: number, step: number): number {
  return 20_000 + (((job % 9_000) * 31 + step) % 9_000);
}
