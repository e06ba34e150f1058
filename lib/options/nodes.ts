import { launchError } from '../errors.js';
import { parseAddresses } from '../util/address.js';
import { shown } from '../util/shown.js';
import {
  type Check,
  fieldsOf,
  flag,
  isList,
  isRecord,
  isText,
  isWhole,
  milliseconds,
  oneOf,
  secret,
  secretText,
  text,
} from './checks.js';
import type { SchedulerSource } from './scheduler/allotment.js';
import { tokenCheck } from './token.js';

/** torchrun's port for c10d. @source pytorch 2.13, torch/distributed/elastic/rendezvous/c10d_rendezvous_backend.py */
export const c10dPort = 29_400;

/** How agents get into the etcd that they meet at. */
export interface EtcdAccess {
  /** @default 'http' */
  readonly protocol?: 'http' | 'https';
  /** A file of the authorities that its certificates are signed by, in PEM. @default those that Node knows */
  readonly ca?: string;
  /** Files of this node's certificate and its key, in PEM: both, or neither. @default none */
  readonly cert?: string;
  readonly key?: string;
  /** @default none */
  readonly user?: { readonly name: string; readonly password: string };
}

const user: Readonly<Record<keyof Required<EtcdAccess>['user'], Check>> = {
  name: text,
  password: secretText,
};

const fields: Readonly<Record<keyof EtcdAccess, Check>> = {
  protocol: oneOf('http', 'https'),
  ca: text,
  cert: text,
  key: text,
  user: secret(
    fieldsOf(
      user,
      '{ name, password }',
      ({ name, password }) => name !== undefined && password !== undefined,
    ),
  ),
};

export const etcdAccess: Check = secret(
  fieldsOf(
    fields,
    '{ protocol?, ca?, cert?, key?, user? }, with both cert and key or neither',
    ({ cert, key }) => (cert === undefined) === (key === undefined),
  ),
);

/** How nodes find each other. */
export type RdzvBackend = 'c10d' | 'static' | 'etcd';

/**
 * Who takes part in a job of several nodes, and where they meet. `maxNodes` 1 means that nobody is met, and the others
 * have no effect then.
 */
export interface NodesOptions {
  /** Nodes that a round needs. @default 1 */
  readonly minNodes?: number;
  /** Nodes that a round may have; more wait until one of them is gone. @default minNodes */
  readonly maxNodes?: number;
  /** Rounds have a multiple of so many nodes. It divides `maxNodes`. @default 1 */
  readonly nodesPerUnit?: number;
  /** The numbers of nodes that a round may have, each from `minNodes` to `maxNodes`. @default []: any of them */
  readonly nodesSet?: readonly number[];
  /** Nodes that may wait beyond `maxNodes` for one of them to be gone; one more ends after the join time-out. @default any number */
  readonly spares?: number;
  /** Nodes with one name (a rack's, an NVLink domain's) have group ranks that follow each other. @default none */
  readonly nodeGroup?: string;
  /** Rounds have a multiple of so many nodes of each group. It divides `maxNodes`, and needs a `nodeGroup`. @default 1 */
  readonly groupSize?: number;
  /**
   * A node whose workers were the root cause of so many failures within any such time is left out for as long, where the
   * others are enough; or no node is. @default 3 within 600_000
   */
  readonly strikes?: { readonly failures: number; readonly perMs: number } | 'off';
  /** `c10d`: at one node's own server. `static`: so too, with group ranks that are given. `etcd`: at an etcd v3. @default 'c10d' */
  readonly rdzvBackend?: RdzvBackend;
  /**
   * HOST:PORT where nodes meet, the same on all of them; with etcd several are possible, with commas between them: its
   * members. Several nodes need it, and a `runId`. @default none
   */
  readonly rdzvEndpoint?: string;
  /** With `etcd`: how agents get into it. @default by HTTP, without a user */
  readonly etcd?: EtcdAccess;
  /**
   * A secret of the job, the same on all nodes: whoever can't prove that it has it takes no part, and no agent at a server
   * that can't. It's never sent or shown. 16 characters at least; etcd has users instead. @default none: whoever reaches the endpoint may take part
   */
  readonly token?: string;
  /** Whether the server at the endpoint is this node's. @default with static: where nodeRank is 0; else by this machine's names and addresses */
  readonly isHost?: boolean;
  /**
   * Whether nodes meet as agents of torchrun do, also where one of ours has the server, so that those may come. Without it that
   * shows by itself where torchrun has it. For c10d only, without `token`, `nodesPerUnit`, `nodesSet`, `groupSize` and `spares`.
   * Whoever reaches the endpoint may write what agents of torchrun unpickle, and so run. @default false
   */
  readonly amongTorchrun?: boolean;
  /** This node's number: its group rank with static, else a hint for the first order of ranks. @default none */
  readonly nodeRank?: number;
  /** Name or address that other nodes reach this one at. @default the local end of the connection to the endpoint */
  readonly localAddr?: string;
  /** Network interface whose first address of the endpoint's family that is, instead of `localAddr`: `eth1`. @default none */
  readonly interface?: string;
  /** For more nodes to come, once there are `minNodes` for the first round. @default 30_000 */
  readonly lastCallMs?: number;
  /** For enough nodes to come, before the first round and before each later one. @default 600_000 */
  readonly joinTimeoutMs?: number;
  /** From a node's last sign of life until the others go on without it; it has killed its workers by then. From 500. @default 5_000 */
  readonly leaseMs?: number;
  /**
   * An event loop that stands still for longer costs an agent its lease: a program that hangs has its node replaced. From
   * 5_000; with etcd the lease itself decides, since that loop renews it. @default 60_000
   */
  readonly agentStallMs?: number;
  /** For more nodes to come, before a live round ends for one that did. @default 2_000 */
  readonly growDebounceMs?: number;
  /** For a node that was lost to come back, before others go on without it or take its place. @default 100 */
  readonly returnGraceMs?: number;
  /** Where these are from that `nodesFromScheduler` gave, for the event `scheduler-read`. @default none */
  readonly scheduler?: SchedulerSource;
}

export const nodesDefaults = {
  minNodes: 1,
  nodesPerUnit: 1,
  nodesSet: [] as readonly number[],
  groupSize: 1,
  strikes: { failures: 3, perMs: 600_000 } as Required<NodesOptions>['strikes'],
  rdzvBackend: 'c10d',
  lastCallMs: 30_000,
  joinTimeoutMs: 600_000,
  leaseMs: 5_000,
  agentStallMs: 60_000,
  growDebounceMs: 2_000,
  returnGraceMs: 100,
} as const;

/** The shortest lease: a machine that's busy for a moment hasn't gone. */
export const minLeaseMs = 500;
/** The longest one: connections that are silent for five minutes are given up, and leases with them. */
export const maxLeaseMs = 240_000;
/** The shortest stall of an agent: its loop says once a second that it's well, later while it is busy. */
export const minAgentStallMs = 5_000;

const nodes: Check = [value => isWhole(value, 1, 100_000), 'a whole number from 1 to 100000'];

const [isMilliseconds] = milliseconds;

export const nodesChecks: Readonly<Record<keyof NodesOptions, Check>> = {
  minNodes: nodes,
  maxNodes: nodes,
  nodesPerUnit: nodes,
  nodesSet: [
    value => isList(value) && value.every(each => nodes[0](each)),
    'a list of whole numbers from 1 to 100000',
  ],
  spares: [value => isWhole(value, 0, 100_000), 'a whole number from 0 to 100000'],
  nodeGroup: text,
  groupSize: nodes,
  strikes: [
    value =>
      value === 'off' ||
      (isRecord(value) && isWhole(value.failures, 1) && milliseconds[0](value.perMs)),
    "{ failures, perMs } or 'off'",
  ],
  rdzvBackend: oneOf('c10d', 'static', 'etcd'),
  rdzvEndpoint: [
    isEndpoint,
    'HOST:PORT with a port from 1 to 65535, an IPv6 address in brackets',
    value =>
      isText(value) && parseAddresses(value) === 'unclear'
        ? `${shown(value)} may end with a port or not; put the address in brackets`
        : undefined,
  ],
  etcd: etcdAccess,
  token: tokenCheck,
  isHost: flag,
  amongTorchrun: flag,
  nodeRank: [value => isWhole(value, 0), 'a whole number from 0'],
  localAddr: text,
  interface: text,
  lastCallMs: milliseconds,
  joinTimeoutMs: milliseconds,
  leaseMs: [
    // isMilliseconds has just told
    value =>
      isMilliseconds(value) && (value as number) >= minLeaseMs && (value as number) <= maxLeaseMs,
    `milliseconds from ${minLeaseMs} to ${maxLeaseMs}`,
  ],
  agentStallMs: [
    value => isMilliseconds(value) && (value as number) >= minAgentStallMs, // isMilliseconds has just told
    `milliseconds from ${minAgentStallMs}`,
  ],
  growDebounceMs: milliseconds,
  returnGraceMs: milliseconds,
  scheduler: [
    value =>
      isRecord(value) &&
      isText(value.scheduler) &&
      isList(value.taken) &&
      value.taken.every(each => isRecord(each) && Object.values(each).every(isText)),
    'what nodesFromScheduler() gives',
  ],
};

function isEndpoint(value: unknown): boolean {
  if (!isText(value)) return false;
  const addresses = parseAddresses(value);
  return typeof addresses === 'object' && addresses.every(({ port = 0 }) => port > 0);
}

/** Numbers of nodes that a job is given. */
export interface Sizes {
  readonly minNodes: number;
  readonly maxNodes: number;
  readonly nodesPerUnit: number;
  readonly nodesSet: readonly number[];
  readonly groupSize: number;
}

/** What of them doesn't fit together: nothing, or the first such option, why, and what would. */
export function sizesProblem(
  sizes: Sizes,
):
  | { readonly option: 'nodesPerUnit' | 'groupSize' | 'nodesSet'; why: string; accepted: string }
  | undefined {
  const { minNodes, maxNodes, nodesPerUnit, nodesSet, groupSize } = sizes;
  for (const [option, size] of [
    ['nodesPerUnit', nodesPerUnit],
    ['groupSize', groupSize],
  ] as const) {
    const why = `${size} does not divide the most nodes, ${maxNodes}`;
    if (maxNodes % size !== 0) return { option, why, accepted: 'a divisor of it' };
  }
  const isLegal = (each: number): boolean =>
    each >= minNodes && each <= maxNodes && each % nodesPerUnit === 0 && each % groupSize === 0;
  const wrong = nodesSet.find(each => !isLegal(each));
  if (wrong === undefined) return undefined;
  const multiples = [nodesPerUnit, groupSize].filter(each => each > 1);
  const what = multiples.length === 0 ? 'numbers' : `multiples of ${multiples.join(' and ')}`;
  return {
    option: 'nodesSet',
    why: `a round can't have ${wrong} nodes`,
    accepted: `${what} from ${minNodes} to ${maxNodes}`,
  };
}

/** What agents of torchrun know nothing of, as far as it's asked for. */
export function unknownToTorchrun({
  token,
  nodesPerUnit,
  nodesSet,
  groupSize,
  spares,
}: Pick<Given, 'token' | 'nodesPerUnit' | 'nodesSet' | 'groupSize' | 'spares'>): readonly {
  readonly option: keyof NodesOptions;
  /** On the command line. */
  readonly flag: string;
}[] {
  return [
    ...(token === undefined ? [] : [{ option: 'token', flag: "a job's token" } as const]),
    ...(nodesPerUnit === 1 ? [] : [{ option: 'nodesPerUnit', flag: '--nnodes-unit' } as const]),
    ...(nodesSet.length === 0 ? [] : [{ option: 'nodesSet', flag: '--nnodes-set' } as const]),
    ...(groupSize === 1 ? [] : [{ option: 'groupSize', flag: '--group-size' } as const]),
    ...(spares === undefined ? [] : [{ option: 'spares', flag: '--spares' } as const]),
  ];
}

/** What remains of a job's options once those of one node have been checked and have their defaults. */
type Given = Readonly<Pick<Required<NodesOptions>, keyof typeof nodesDefaults>> &
  Omit<NodesOptions, keyof typeof nodesDefaults> & { readonly runId?: string };

/**
 * The defaults that depend on other options, of options that fit together.
 *
 * @throws ERR_OPTION
 */
export function nodesTogether(given: Given): Pick<NodesOptions, 'isHost'> & { maxNodes: number } {
  const { minNodes, rdzvBackend, rdzvEndpoint, nodeRank, runId } = given;
  const { maxNodes = minNodes } = given;
  const refuse = (option: keyof NodesOptions | 'runId', problem: string): never => {
    throw launchError('ERR_OPTION', [option, problem]);
  };

  if (maxNodes < minNodes) {
    refuse('maxNodes', `${maxNodes} is below minNodes, ${minNodes}; give as many at least`);
  }
  const sizes = sizesProblem({ ...given, maxNodes });
  if (sizes !== undefined) refuse(sizes.option, `${sizes.why}; give ${sizes.accepted}`);
  const isHost = given.isHost === undefined ? {} : { isHost: given.isHost };
  if (maxNodes === 1) return { maxNodes, ...isHost };

  if (rdzvBackend === 'static' && given.nodeGroup !== undefined)
    refuse('nodeGroup', 'with static the ranks are given; give another backend, or no group');
  if (given.groupSize > 1 && given.nodeGroup === undefined)
    refuse('nodeGroup', `groups of ${given.groupSize} nodes need it; give the name of this node's`);
  if (rdzvBackend === 'etcd' && given.token !== undefined)
    refuse('token', 'an etcd has users and certificates; give etcd.user, or another backend');
  const same = 'the same on all nodes';
  if (rdzvEndpoint === undefined)
    refuse('rdzvEndpoint', `several nodes need a place to meet; give HOST:PORT, ${same}`);
  if (runId === undefined)
    refuse('runId', `several nodes know by it that they belong together; give a text, ${same}`);
  if (given.amongTorchrun && rdzvBackend !== 'c10d')
    refuse(
      'amongTorchrun',
      `agents of torchrun meet ours with c10d, not ${rdzvBackend}; give that`,
    );
  const [unknown] = given.amongTorchrun ? unknownToTorchrun(given) : [];
  if (unknown !== undefined)
    refuse(
      unknown.option,
      'agents of torchrun know nothing of it; leave it away, or amongTorchrun',
    );
  if (rdzvBackend !== 'etcd' && rdzvEndpoint?.includes(',')) {
    const what = `${shown(rdzvEndpoint)} names several places, and only an etcd has them`;
    refuse('rdzvEndpoint', `${what}; give one HOST:PORT`);
  }
  if (given.localAddr !== undefined && given.interface !== undefined)
    refuse('interface', 'localAddr says the address already; give one of the two');
  if (rdzvBackend !== 'static') return { maxNodes, ...isHost };

  if (minNodes !== maxNodes) {
    const problem = `static waits for all nodes, and ${minNodes} isn't maxNodes, ${maxNodes}; give as many, or the backend c10d`;
    refuse('minNodes', problem);
  }
  if (nodeRank === undefined || nodeRank >= maxNodes) {
    const what = nodeRank === undefined ? 'static gives none by itself' : `${nodeRank} is too high`;
    refuse('nodeRank', `${what}; give a number from 0 to ${maxNodes - 1}, another on each node`);
  }
  return { maxNodes, isHost: given.isHost ?? nodeRank === 0 };
}
