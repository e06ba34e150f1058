import {
  conflict,
  type Env,
  type Finding,
  given,
  missingOf,
  nothing,
  rankOf,
  type Said,
  whole,
} from './allotment.js';

const skyNames = ['SKYPILOT_NUM_NODES', 'SKYPILOT_NODE_RANK', 'SKYPILOT_NODE_IPS'] as const;

/** What SkyPilot tells the `run` commands of a task. @source SkyPilot 0.9, distributed jobs, environment variables */
export function findInSkyPilot(env: Env): Finding {
  const nodes = countOf(env, skyNames);
  if (typeof nodes !== 'number') return nodes;
  const addresses = (env.SKYPILOT_NODE_IPS ?? '').split(/\s+/).filter(each => each !== '');
  const why = `SKYPILOT_NODE_IPS has ${addresses.length} addresses`;
  if (addresses.length !== nodes) return conflict(given(env, 'SKYPILOT_NUM_NODES'), why);
  return several(env, 'SkyPilot', {
    nodes: { value: nodes, from: 'SKYPILOT_NUM_NODES' },
    rank: 'SKYPILOT_NODE_RANK',
    first: { value: addresses[0] ?? '', from: 'SKYPILOT_NODE_IPS' },
    id: 'SKYPILOT_TASK_ID',
  });
}

const leptonNames = [
  'LEPTON_JOB_TOTAL_WORKERS',
  'LEPTON_JOB_WORKER_INDEX',
  'LEPTON_JOB_WORKER_PREFIX',
  'LEPTON_SUBDOMAIN',
] as const;

/** What DGX Cloud Lepton tells a batch job. @source leptonai/scripts, lepton_env_to_pytorch.sh */
export function findInLepton(env: Env): Finding {
  const nodes = countOf(env, leptonNames);
  if (typeof nodes !== 'number') return nodes;
  return several(env, 'Lepton', {
    nodes: { value: nodes, from: 'LEPTON_JOB_TOTAL_WORKERS' },
    rank: 'LEPTON_JOB_WORKER_INDEX',
    first: {
      value: `${env.LEPTON_JOB_WORKER_PREFIX}-0.${env.LEPTON_SUBDOMAIN}`,
      from: 'LEPTON_JOB_WORKER_PREFIX, LEPTON_SUBDOMAIN',
    },
    id: 'LEPTON_JOB_NAME',
  });
}

/** How many nodes there are, by the first of several variables, of which the others must be there as well. */
function countOf(env: Env, names: readonly [string, ...string[]]): number | Finding {
  const [name] = names;
  const nodes = whole(env[name]) ?? 1;
  if (nodes <= 1) return nothing;
  const missing = missingOf(env, names);
  return missing === undefined ? nodes : conflict(given(env, name), `${missing} is missing`);
}

function several(
  env: Env,
  scheduler: string,
  said: {
    readonly nodes: Said<number>;
    readonly first: Said<string>;
    /** The variables of these. */
    readonly rank: string;
    readonly id: string;
  },
): Finding {
  const rank = rankOf(env, said.rank, said.nodes.value);
  if ('found' in rank) return rank;
  const id = env[said.id] ?? '';
  return {
    found: 'nodes',
    allotment: {
      scheduler,
      nodes: said.nodes,
      rank,
      first: said.first,
      ...(id === '' ? {} : { id: { value: id, from: said.id } }),
    },
  };
}
