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
  // A worker's own launcher, of this launcher or another: what the worker inherited was for its parent.
  if (env.TORCHELASTIC_RUN_ID !== undefined) return nothing;
  const findings = [
    findInSlurm(env),
    findInSkyPilot(env),
    findInLepton(env),
    findInPyTorchJob(env, around),
  ];
  const several = findings.filter(({ found }) => found !== 'nothing');
  const [nearest, other] = several;
  if (nearest === undefined) {
    const indexed = findInIndexedJob(env, around);
    return indexed.found === 'nothing'
      ? (findings.find(each => each.found === 'nothing' && each.note !== undefined) ?? nothing)
      : indexed;
  }
  return other === undefined ? nearest : (contradiction(nearest, other) ?? nearest);
}

function contradiction(a: Finding, b: Finding): Conflict | undefined {
  if (a.found !== 'nodes' || b.found !== 'nodes') return undefined;
  for (const name of ['nodes', 'rank'] as const) {
    const [one, two] = [a.allotment[name], b.allotment[name]];
    if (one === undefined || two === undefined || one.value === two.value) continue;
    return conflict(`${one.from}=${one.value}`, `${two.from}=${two.value} says something else`);
  }
  return undefined;
}
