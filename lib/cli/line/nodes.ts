import type { LaunchOptions } from '../../options/launch-options.js';
import type { EtcdAccess } from '../../options/nodes.js';
import { c10dPort, maxLeaseMs, minLeaseMs } from '../../options/nodes.js';
import { type Address, addressOf } from '../../util/address.js';
import { maxTimerMs } from '../../util/duration.js';
import type { Env, Values } from '../options/spec.js';
import { isEtcd, type Meeting, type NodeCounts } from './meeting.js';
import { pythonInt } from './python-text.js';
import { confFlag, tokenFileOf } from './rdzv-conf.js';

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/etcd_rendezvous.py, etcd_rendezvous_backend.py */
const etcdPort = 2379;

/** torchrun's wait of static nodes for each other. @source pytorch 2.13, torch/distributed/run.py and launcher/api.py */
const staticTimeoutSeconds = 900;

/** What the command line says of how several nodes meet. */
export interface Nodes {
  readonly counts: NodeCounts;
  readonly meeting: Meeting;
  readonly endpoints: readonly Address[];
  readonly conf: ReadonlyMap<string, string>;
  readonly nodeRank: number;
  readonly env: Env;
}

/** What isn't read before it's needed. */
export interface Secrets {
  etcd(): EtcdAccess;
  /** The job's. */
  token(): string | undefined;
}

/**
 * Options for several nodes; a job of one has none.
 *
 * @throws CommandLineError
 */
export function nodesOptions(
  values: Values,
  { counts, meeting, endpoints, conf, nodeRank, env }: Nodes,
  secrets: Secrets,
  warn: (text: string) => void,
): Partial<LaunchOptions> {
  const { minNodes, maxNodes, isAlone } = counts;
  if (isAlone) return {};
  if (meeting.runId === '') {
    values.refuse(
      'rdzv_id',
      "without an id nodes don't know that they belong together",
      'a text, the same on all nodes',
    );
  }
  const isStatic = meeting.backend === 'static';
  const isAtEtcd = isEtcd(meeting.backend);
  if (isAtEtcd && (tokenFileOf(conf) ?? env.REGROUP_TOKEN))
    warn('a token has no effect with etcd, which has users and certificates of its own');
  return {
    ...(isStatic
      ? staticOptions(values, counts, conf, nodeRank, warn)
      : elasticOptions(values, conf, nodeRank, env)),
    ...(isAtEtcd ? etcdOptions(conf, secrets.etcd()) : tokenOptions(secrets.token())),
    minNodes: isStatic ? maxNodes : minNodes,
    maxNodes,
    rdzvBackend: isStatic ? 'static' : isAtEtcd ? 'etcd' : 'c10d',
    rdzvEndpoint: placeOf(values, meeting, endpoints, warn),
    ...localAddrOf(values),
  };
}

function placeOf(
  values: Values,
  meeting: Meeting,
  endpoints: readonly Address[],
  warn: (text: string) => void,
): string {
  const usual = isEtcd(meeting.backend) ? etcdPort : c10dPort;
  const place = endpoints.map(({ host, port = usual }) => addressOf(host, port)).join(',');
  if (endpoints.some(({ port }) => port === 0)) {
    const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_port';
    values.refuse(dest, "the other nodes can't know a port that is chosen here", 'a port from 1');
  }
  if (meeting.endpoint.trim() === '')
    warn(`without --rdzv-endpoint nodes meet at ${place}, where only this machine's can`);
  return place;
}

function staticOptions(
  values: Values,
  { minNodes, maxNodes }: NodeCounts,
  conf: ReadonlyMap<string, string>,
  nodeRank: number,
  warn: (text: string) => void,
): Partial<LaunchOptions> {
  if (!(nodeRank >= 0 && nodeRank < maxNodes)) {
    const accepted = `0 to ${maxNodes - 1}, another on each node`;
    values.refuse('node_rank', `there is no such node among ${maxNodes}`, accepted);
  }
  if (minNodes !== maxNodes) {
    warn(
      `the static rdzv_backend waits for all ${maxNodes} nodes; --rdzv-backend=c10d starts with ${minNodes}`,
    );
  }
  const seconds = pythonInt(conf.get('timeout') ?? '') ?? staticTimeoutSeconds;
  return { nodeRank, joinTimeoutMs: toMs(seconds) };
}

/** What etcd has in its own way. torchrun's `etcd` says `timeout` for `join_timeout`. */
function etcdOptions(conf: ReadonlyMap<string, string>, etcd: EtcdAccess): Partial<LaunchOptions> {
  const seconds = pythonInt(conf.get('join_timeout') ?? conf.get('timeout') ?? '');
  return {
    ...(seconds === undefined ? {} : { joinTimeoutMs: toMs(seconds) }),
    ...(Object.keys(etcd).length === 0 ? {} : { etcd }),
  };
}

function tokenOptions(token: string | undefined): Partial<LaunchOptions> {
  return token === undefined ? {} : { token };
}

function elasticOptions(
  values: Values,
  conf: ReadonlyMap<string, string>,
  nodeRank: number,
  env: Env,
): Partial<LaunchOptions> {
  if (conf.get('store_type')?.trim().toLowerCase() === 'file') {
    values.refuse('rdzv_conf', "nodes can't meet at a file", 'store_type=tcp');
  }
  const seconds = (key: string): number | undefined => pythonInt(conf.get(key) ?? '');
  const isHost = confFlag(conf, 'is_host');
  const amongTorchrun = confFlag(conf, 'among_torchrun');
  const hint = values.isGiven('node_rank') ? nodeRank : schedulersRank(env);
  const joinTimeout = seconds('join_timeout');
  const lastCall = seconds('last_call_timeout');
  const leaseMs = toMs(
    (seconds('keep_alive_interval') ?? 5) * (seconds('keep_alive_max_attempt') ?? 3),
  );
  // Whoever sets one of them knows how long a node of theirs may be silent.
  const isLeaseGiven = conf.has('keep_alive_interval') || conf.has('keep_alive_max_attempt');
  return {
    ...(isHost === undefined ? {} : { isHost }),
    ...(amongTorchrun === undefined ? {} : { amongTorchrun }),
    ...(joinTimeout === undefined ? {} : { joinTimeoutMs: toMs(joinTimeout) }),
    ...(lastCall === undefined ? {} : { lastCallMs: toMs(lastCall) }),
    ...(isLeaseGiven && leaseMs >= minLeaseMs ? { leaseMs: Math.min(leaseMs, maxLeaseMs) } : {}),
    ...(hint !== undefined && isHint(hint) ? { nodeRank: hint } : {}),
  };
}

/** Whether a node's number says something about the order of several. */
export function isHint(nodeRank: number): boolean {
  return Number.isSafeInteger(nodeRank) && nodeRank >= 0;
}

/**
 * This node's number among those of the scheduler's job: of a Slurm step, or of an Indexed Job of Kubernetes.
 *
 * @source Slurm 25.05, srun, output environment variables; Kubernetes 1.34, Job, completion mode
 */
function schedulersRank(env: Env): number | undefined {
  const numbers = [env.SLURM_NODEID, env.JOB_COMPLETION_INDEX].filter(text =>
    /^\d+$/.test(text ?? ''),
  );
  return numbers[0] === undefined ? undefined : Number(numbers[0]);
}

function localAddrOf(values: Values): Partial<LaunchOptions> {
  const localAddr = (values.text('local_addr') ?? '').trim().replace(/^\[(.*)\]$/, '$1');
  return localAddr === '' ? {} : { localAddr };
}

/** Clamped to what a timer takes. */
function toMs(seconds: number): number {
  return Math.min(Math.max(seconds, 0) * 1000, maxTimerMs);
}
