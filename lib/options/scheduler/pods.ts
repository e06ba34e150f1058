import {
  type Conflict,
  conflict,
  type Env,
  type Finding,
  given,
  nothing,
  type Surroundings,
  whole,
} from './allotment.js';

/**
 * What a PyTorchJob of Kubeflow's training operator gives its pods where it doesn't speak torchrun's own `PET_*`: up to 1.6
 * without an elastic policy. `RANK` and `WORLD_SIZE` are numbers of pods there; with the names of the pods they're known
 * from those that anybody else may have set.
 *
 * @source kubeflow/training-operator v1.6, pkg/controller.v1/pytorch/envvar.go and master.go; v1.3, pod.go: the master's
 *   MASTER_ADDR is localhost
 */
export function findInPyTorchJob(env: Env, { hostname }: Surroundings): Finding {
  const { KUBERNETES_SERVICE_HOST: cluster, MASTER_ADDR: master } = env;
  const nodes = whole(env.WORLD_SIZE) ?? 1;
  const rank = whole(env.RANK);
  const port = whole(env.MASTER_PORT);
  if (cluster === undefined || nodes <= 1 || rank === undefined || port === undefined)
    return nothing;

  const [, job = '', role, index] = /^(.+)-(master|worker)-(\d+)$/.exec(hostname()) ?? [];
  const number = Number(index) + (role === 'worker' ? 1 : 0);
  const first = `${job}-master-0`;
  const isMaster = master === first || (master === 'localhost' && rank === 0);
  if (rank >= nodes || number !== rank || !isMaster) return nothing;
  return {
    found: 'nodes',
    allotment: {
      scheduler: 'PyTorchJob',
      nodes: { value: nodes, from: 'WORLD_SIZE' },
      rank: { value: rank, from: 'RANK' },
      first: { value: first, from: 'MASTER_ADDR' },
      port: { value: port, from: 'MASTER_PORT' },
      id: { value: job, from: "the pod's name" },
    },
  };
}

/**
 * What is known in a pod of an Indexed Job, and so of a JobSet: its number, and by its own full name in /etc/hosts that of pod 0.
 * Nothing says how many there are, and many such jobs are so many single nodes.
 *
 * @source Kubernetes 1.34, Job, completion mode; Pod, hostname and subdomain
 */
export function findInIndexedJob(env: Env, { hostname, hosts }: Surroundings): Finding {
  const rank = whole(env.JOB_COMPLETION_INDEX);
  if (rank === undefined) return nothing;
  const [own = '', ...ownDomain] = hostname().split('.');
  const [, job] = /^(.+)-(\d+)$/.exec(own) ?? [];
  const domain = ownDomain.length > 0 ? ownDomain.join('.') : domainOf(own, hosts());
  const isNamed = job !== undefined && own === `${job}-${rank}`;
  const source = 'JOB_COMPLETION_INDEX';
  return {
    found: 'nodes',
    allotment: {
      scheduler: 'the Indexed Job',
      rank: { value: rank, from: source },
      ...(isNamed && domain !== undefined
        ? { first: { value: `${job}-0.${domain}`, from: `${source}, the pod's name` } }
        : {}),
      ...(isNamed ? { id: { value: job, from: "the pod's name" } } : {}),
    },
  };
}

/** What follows a name in its own line of /etc/hosts, as `10.0.0.7 job-1.svc.ns.svc.cluster.local job-1`. */
function domainOf(name: string, hosts: string): string | undefined {
  for (const line of hosts.split('\n')) {
    const words = (line.split('#')[0] ?? '').trim().split(/\s+/).slice(1);
    const full = words.find(word => word.startsWith(`${name}.`));
    if (full !== undefined) return full.slice(name.length + 1);
  }
  return undefined;
}

/** Why there's no endpoint in an Indexed Job, for those who say how many nodes it has. */
export function noFirstPod(env: Env): Conflict {
  return conflict(
    given(env, 'JOB_COMPLETION_INDEX'),
    "pod 0's name isn't known, for this pod's has no number or no subdomain (a headless service)",
    '--rdzv-endpoint=HOST:PORT, the same on all nodes',
  );
}
