import {
  type Conflict,
  conflict,
  type Env,
  type Finding,
  nothing,
  type Surroundings,
} from './allotment.js';
import { findInLepton, findInSkyPilot } from './clouds.js';
import { findInIndexedJob, findInPyTorchJob } from './pods.js';
import { findInSlurm } from './slurm.js';

/**
 * What the scheduler that started this process has said of the job's nodes. Pure, but for what `around` looks at.
 *
 * The nearest one counts, which is srun: it tells each task anew, and passes on what a cloud has set where it was called. Two that
 * contradict each other are a conflict.
 */
export function findAllotment(env: Env, around: Surroundings): Finding {
  const findings = [
    findInSlurm(env),
    findInSkyPilot(env),
    findInLepton(env),
    findInPyTorchJob(env, around),
  ];
  const several = findings.filter(({ found }) => found !== 'nothing');
  // A worker of this launcher or another: what it inherited was for its parent, or for the job that it was in.
  if (env.TORCHELASTIC_RUN_ID !== undefined) return several.length === 0 ? nothing : withinWorker;
  const [nearest, other] = several;
  if (nearest === undefined) {
    const indexed = findInIndexedJob(env, around);
    return indexed.found === 'nothing'
      ? (findings.find(each => each.found === 'nothing' && each.note !== undefined) ?? nothing)
      : indexed;
  }
  return other === undefined ? nearest : (contradiction(nearest, other) ?? nearest);
}

const withinWorker: Finding = {
  found: 'nothing',
  note: 'one node: TORCHELASTIC_RUN_ID says that a worker of another launcher started this; unset it, or give --nnodes',
};

function contradiction(a: Finding, b: Finding): Conflict | undefined {
  if (a.found !== 'nodes' || b.found !== 'nodes') return undefined;
  for (const name of ['nodes', 'rank'] as const) {
    const [one, two] = [a.allotment[name], b.allotment[name]];
    if (one === undefined || two === undefined || one.value === two.value) continue;
    return conflict(`${one.from}=${one.value}`, `${two.from}=${two.value} says something else`);
  }
  return undefined;
}
