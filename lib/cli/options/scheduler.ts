import { c10dPort } from '../../options/nodes.js';
import type {
  Allotment,
  Conflict,
  Said,
  SchedulerSource,
  Surroundings,
} from '../../options/scheduler/allotment.js';
import { findAllotment } from '../../options/scheduler/find.js';
import { noFirstPod } from '../../options/scheduler/pods.js';
import { addressOf, isLoopback, parseAddress } from '../../util/address.js';
import { refusal } from '../line/command-line-error.js';
import { parseNodes } from '../line/meeting.js';
import type { CommandName, Env, GivenOption, Values } from './spec.js';

/** Values of a command line, with what a scheduler says of those about nodes that it leaves open. */
export interface Scheduled {
  readonly values: Values;
  /** What was taken; absent: nothing. */
  readonly source?: SchedulerSource;
  /** Sentences for people. */
  readonly notes: readonly string[];
}

/** Values by torchrun's names of options. */
type Taken = ReadonlyMap<string, Said<string>>;

/**
 * Lets a scheduler's variables stand where neither the command line nor `PET_*` says how many nodes there are, which one this is
 * and where they meet. Nothing is taken where one node is asked for.
 *
 * @throws CommandLineError where there are several nodes, but it isn't clear which
 */
export function withScheduler(
  command: CommandName,
  before: Values,
  env: Env,
  around: Surroundings | undefined,
): Scheduled {
  const { values, notes } = withoutEmptyStandalone(before, env);
  const plain: Scheduled = { values, notes };
  const isSized = values.isGiven('nnodes');
  if (around === undefined || values.flag('standalone')) return plain;
  if (isSized && parseNodes(values).maxNodes === 1) return plain;

  const finding = findAllotment(env, around);
  const place = givenPlace(values);
  if (finding.found === 'nothing') {
    const { note } = finding;
    const isSaid = isSized || place !== 'none' || note === undefined;
    return isSaid ? plain : { values, notes: [...notes, note] };
  }
  const several = finding.found === 'nodes' ? finding.allotment.nodes : undefined;
  // Only the command line knows how many nodes an Indexed Job has.
  if (!isSized && finding.found === 'nodes' && several === undefined) return plain;
  if (place === 'own') {
    const count = several === undefined ? 'several' : `${several.value} (${several.from})`;
    const what = `${hostOf(values)} is another machine on each node, of which there are ${count}`;
    if (isSized && several !== undefined) refusePlace(values, what);
    return isSized ? plain : { values, notes: [...notes, `one node: ${what}`] };
  }
  const needsEndpoint = place === 'none';
  if (finding.found === 'conflict') {
    if (isSized && !needsEndpoint) return plain;
    throw refused(command, finding);
  }

  const { allotment } = finding;
  const taken = take(command, values, { allotment, env, needsEndpoint, around });
  if (taken.size === 0) return plain;
  const source = { scheduler: allotment.scheduler, taken: listed(taken) };
  return { values: overlaid(command, values, taken), source, notes };
}

/**
 * Kubeflow's training operator sets `PET_STANDALONE=` beside the rest: where that is of several nodes, it's of no weight.
 *
 * @source kubeflow/training-operator v1.6, pkg/controller.v1/pytorch/elastic.go
 */
function withoutEmptyStandalone(
  values: Values,
  env: Env,
): { readonly values: Values; readonly notes: readonly string[] } {
  const isEmpty =
    env.PET_STANDALONE === '' &&
    values.given().some(({ name, from }) => name === '--standalone' && from !== undefined);
  if (!isEmpty || !values.isGiven('nnodes') || parseNodes(values).maxNodes === 1)
    return { values, notes: [] };
  return {
    values: {
      ...values,
      flag: dest => dest !== 'standalone' && values.flag(dest),
      given: () => values.given().filter(({ name }) => name !== '--standalone'),
    },
    notes: ['PET_STANDALONE is empty and ignored, for there are several nodes'],
  };
}

/**
 * What options and `PET_*` say of the place where nodes meet: `own` is this machine alone, as torchrun's users write it for several
 * jobs on one. An etcd is a place for itself, and may be at `localhost` on every node.
 */
function givenPlace(values: Values): 'none' | 'own' | 'given' {
  if (/^etcd/.test(values.text('rdzv_backend') ?? '')) return 'given';
  const host = hostOf(values);
  if (host === undefined) return 'none';
  return isLoopback(host) || isEvery(host) || hasNoPort(values) ? 'own' : 'given';
}

function isEvery(host: string): boolean {
  return ['0.0.0.0', '::'].includes(host);
}

/** Port 0 is another one on each node. */
function hasNoPort(values: Values): boolean {
  const address = parseAddress((values.text('rdzv_endpoint') ?? '').trim());
  return typeof address === 'object' && address.port === 0;
}

function hostOf(values: Values): string | undefined {
  const endpoint = (values.text('rdzv_endpoint') ?? '').trim();
  const master = values.isGiven('master_addr') ? (values.text('master_addr') ?? '').trim() : '';
  if (endpoint === '') return master === '' ? undefined : master.replace(/^\[(.*)\]$/, '$1');
  const address = parseAddress(endpoint);
  return typeof address === 'object' ? address.host : endpoint;
}

function refusePlace(values: Values, why: string): never {
  const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_addr';
  return values.refuse(dest, why, 'a name or address of one of them, or none');
}

interface Needs {
  readonly allotment: Allotment;
  readonly env: Env;
  readonly needsEndpoint: boolean;
  readonly around: Surroundings;
}

/** What is taken: the number of nodes, the place and the job's name as they go together, and this node's number. */
function take(command: CommandName, values: Values, needs: Needs): Taken {
  const { allotment, env, needsEndpoint, around } = needs;
  const { nodes, rank, id } = allotment;
  const taken = new Map<string, Said<string>>();
  const isSized = values.isGiven('nnodes');
  if (!isSized && nodes !== undefined) {
    if (around.isTerminal()) {
      const why = 'stdin is a terminal, so it may be meant for this node alone';
      throw refused(command, conflictOf(nodes, why, `--nnodes=1, or --nnodes=${nodes.value}`));
    }
    taken.set('nnodes', { value: String(nodes.value), from: nodes.from });
  }
  const most = isSized ? parseNodes(values).maxNodes : (nodes?.value ?? 1);
  const isOne = nodes !== undefined && most > nodes.value;
  if (isOne && needsEndpoint) {
    const why = `it is less than --nnodes=${values.text('nnodes')}`;
    throw refused(command, conflictOf(nodes, why, 'as many, or --rdzv-endpoint=HOST:PORT'));
  }
  // Nodes that aren't the scheduler's have numbers that it doesn't know.
  if (!values.isGiven('node_rank') && !isOne)
    taken.set('node_rank', { value: String(rank.value), from: rank.from });
  if (needsEndpoint) takeEndpoint(command, values, { allotment, env }, taken);
  const isTogether = taken.has('nnodes') || needsEndpoint;
  if (isTogether && id !== undefined && !values.isGiven('rdzv_id')) taken.set('rdzv_id', id);
  // A hint alone changes nothing that people would have to know.
  return taken.size === 1 && taken.has('node_rank') && !isStatic(values) ? new Map() : taken;
}

function takeEndpoint(
  command: CommandName,
  values: Values,
  { allotment, env }: Pick<Needs, 'allotment' | 'env'>,
  taken: Map<string, Said<string>>,
): void {
  const { first, rank, port } = allotment;
  if (first === undefined) throw refused(command, noFirstPod(env));
  const ownPort = values.int('master_port');
  const place = addressOf(first.value, ownPort ?? port?.value ?? c10dPort);
  const from = port === undefined || ownPort !== undefined ? [first] : [first, port];
  taken.set('rdzv_endpoint', { value: place, from: from.map(each => each.from).join(', ') });
  if (values.isGiven('rdzv_backend') && isStatic(values)) {
    const ownRank = values.isGiven('node_rank') ? values.int('node_rank') : rank.value;
    if (ownRank === rank.value) return;
    const why = `--node-rank=${ownRank} is another number, and node 0 is where the others meet`;
    throw refused(command, conflictOf(rank, why, '--master-addr=HOST beside it'));
  }
  if (!values.isGiven('rdzv_backend'))
    taken.set('rdzv_backend', { value: 'c10d', from: first.from });
  const conf = (values.text('rdzv_conf') ?? '').trim();
  if (/(^|,)\s*is_host\s*=/.test(conf)) return;
  const isHost = `is_host=${rank.value === 0 ? 1 : 0}`;
  taken.set('rdzv_conf', { value: conf === '' ? isHost : `${conf},${isHost}`, from: rank.from });
}

function isStatic(values: Values): boolean {
  return (values.text('rdzv_backend') ?? 'static') === 'static';
}

function conflictOf(said: Said<number>, why: string, accepted: string): Conflict {
  return { found: 'conflict', source: `${said.from}=${said.value}`, why, accepted };
}

function refused(command: CommandName, { source, why, accepted }: Conflict): Error {
  return refusal(command, source, why, accepted);
}

const nameOf = (dest: string): string => `--${dest.replaceAll('_', '-')}`;

/** Options that people would have to give for the same. */
function listed(taken: Taken): SchedulerSource['taken'] {
  return [...taken].map(([dest, { value, from }]) => ({ option: nameOf(dest), value, from }));
}

/** Values with some that are taken, which are as if they had been given. */
function overlaid(command: CommandName, values: Values, taken: Taken): Values {
  const int = (dest: string): number | undefined => {
    const said = taken.get(dest);
    return said === undefined ? values.int(dest) : Number(said.value);
  };
  return {
    ...values,
    text: dest => taken.get(dest)?.value ?? values.text(dest),
    int,
    isGiven: dest => taken.has(dest) || values.isGiven(dest),
    given: () => [
      ...values.given().filter(({ name }) => name !== '--rdzv-conf' || !taken.has('rdzv_conf')),
      ...listed(taken).map(({ option, ...rest }): GivenOption => ({ name: option, ...rest })),
    ],
    refuse(dest, why, accepted) {
      const said = taken.get(dest);
      if (said === undefined) return values.refuse(dest, why, accepted);
      throw refusal(command, `${nameOf(dest)}=${said.value} (${said.from})`, why, accepted);
    },
  };
}
