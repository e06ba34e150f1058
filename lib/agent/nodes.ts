import type { AgentEvent } from '../events.js';
import { native } from '../native/addon.js';
import { failurePolicyOf } from '../options/failures.js';
import type { Settings } from '../options/launch-options.js';
import { createAlone } from '../rendezvous/alone.js';
import { createFound, type Found } from '../rendezvous/found.js';
import { tableVersion } from '../rendezvous/job/shared.js';
import type { ParticipantState } from '../rendezvous/job/state.js';
import { fencePart } from '../rendezvous/membership.js';
import type { Met, StockMet } from '../rendezvous/met.js';
import type { Rendezvous, RendezvousEvent } from '../rendezvous/rendezvous.js';
import {
  createTogether,
  type Together,
  type TogetherOptions,
  type TogetherSurroundings,
} from '../rendezvous/together.js';
import { failedElsewhere } from '../rendezvous/told/elsewhere.js';
import { targetsOf } from '../rendezvous/told/targets.js';
import { waitOf } from '../rendezvous/told/wait.js';
import { createSpaced, createWaits } from '../rendezvous/told/waits.js';
import { asRendezvousError } from '../rendezvous/words.js';
import { everyHost, type Hosts, numericHosts, ownAddresses } from '../store/master-hosts.js';
import { hostname } from '../system/hostname.js';
import { type Address, isLoopback, parseAddress } from '../util/address.js';
import { randomName } from '../util/random.js';
import type { Job } from '../workers/job.js';
import type { Core } from './core.js';
import { createGivenRank } from './given-rank.js';
import { createTrials } from './trials.js';

/** Where this node serves stores; absent: at a name that must be looked up. */
export function servedHosts(settings: Settings): Hosts | undefined {
  if (settings.maxNodes === 1) return numericHosts(settings.masterAddr);
  // An etcd at a loopback address may have members on other machines.
  const isEtcd = settings.rdzvBackend === 'etcd';
  const host = isEtcd ? (settings.localAddr ?? '') : endpointOf(settings).host;
  return (isLoopback(host) ? numericHosts(host) : undefined) ?? everyHost;
}

/** Between two looks at whom this node waits for: of a thousand nodes each one's coming is a reason to look at all of them. */
const waitGapMs = 50;

/** What workers of other nodes get beyond their grace period, until it's told what became of them. */
const endsMarginMs = 5_000;

/** What the rendezvous of several nodes needs of the agent. */
export interface NodeSurroundings {
  core(): Core;
  happen(event: RendezvousEvent | { readonly event: 'broken'; readonly error: unknown }): void;
  tell(event: AgentEvent): void;
  nowMs(): number;
}

/** What of a job the rendezvous looks at. */
export type NodesJob = Pick<Job, 'settings' | 'localWorldSize' | 'runId' | 'agentStore'>;

/** The rendezvous of a job: with nobody where it has one node. */
export function rendezvousOf(
  job: NodesJob,
  around: NodeSurroundings,
): Rendezvous & Partial<Together> {
  const { settings, localWorldSize } = job;
  return settings.maxNodes > 1
    ? together(job, around)
    : createAlone(failurePolicyOf(settings), localWorldSize, around.happen);
}

function together(job: NodesJob, { core, happen, tell, nowMs }: NodeSurroundings): Together {
  const { settings } = job;
  const { leaseMs } = settings;
  const options = optionsOf(job);
  const { strikes: rule } = options;
  const closing = new AbortController();
  const { joinTimeoutMs, lastCallMs, rdzvEndpoint: endpoint = '' } = settings;
  const waits = createWaits(wait => tell({ event: 'waiting-for-nodes', ...wait, atMs: nowMs() }));
  let isServerGone = false;
  let known: ParticipantState | undefined;
  const wait = (): void => {
    const limits = { endpoint, joinTimeoutMs, lastCallMs, endsMs: options.endsMs };
    if (known !== undefined) waits.now(waitOf(known, limits));
  };
  const spacedWait = createSpaced(wait, waitGapMs);
  let isHere = false;
  const here = (): string => known?.self.node ?? options.hostname;
  const trials = createTrials({ here, tell, nowMs });
  let lastFailed = -1;
  const tellFailure = (state: ParticipantState): void => {
    const failed = failedElsewhere(state);
    if (failed === undefined || failed.round <= lastFailed) return;
    lastFailed = failed.round;
    tell({ event: 'peer-failed', ...failed, atMs: nowMs() });
  };
  const broken = (error: unknown): void => happen({ event: 'broken', error });
  const givenRank = createGivenRank({ nodeRank: settings.nodeRank ?? 0, leaseMs }, broken);
  const serving = ({ serve, keepLease }: Core): Pick<Core, 'serve' | 'keepLease'> => ({
    serve(port) {
      serve(port);
      if (settings.token !== undefined || isLoopback(endpointOf(settings).host)) return;
      tell({ event: 'open-to-all', port, addresses: ownAddresses(), atMs: nowMs() });
    },
    keepLease,
  });
  const around: Omit<TogetherSurroundings, 'meet'> = {
    openStore(round) {
      // As with torchrun, whose workers have what agents were given with that backend, and a port of their own with others.
      const isShared = settings.rdzvBackend === 'static' && isHere;
      const { port } = core().openTable(round, isShared);
      return isShared ? { host: endpointOf(settings).host, port } : { port };
    },
    closeStore: round => core().closeTable(round),
    setFence: atMs => core().setFence(atMs),
    postponeFence: atMs => core().postponeFence(atMs),
    bootMs: () => native().boottimeMs(),
    nowMs,
    tell(event) {
      if (event.event !== 'round-formed') trials.end();
      else
        void trials.begin(event.round, () =>
          known === undefined ? [] : targetsOf(known, event, job.agentStore),
        );
      happen(event);
    },
    stepped(state) {
      known = state;
      if (options.ranksAreGiven) givenRank.look(state);
      tellFailure(state);
      // The end of a wait is told of at once.
      if (state.local.is === 'waiting' || state.local.is === 'done') spacedWait.soon();
      else wait();
    },
    notice: (round, because, nodes) =>
      tell({ event: 'round-broken', round, because, nodes, atMs: nowMs() }),
    reached(isThere, round, keptMs = leaseMs * fencePart) {
      const isNews = isThere ? isServerGone : round !== undefined;
      isServerGone = !isThere && isNews;
      if (!isNews || closing.signal.aborted) return;
      const what = isThere
        ? ({ event: 'server-back' } as const)
        : ({ event: 'server-gone', limitMs: keptMs } as const);
      tell({ ...what, endpoint, atMs: nowMs() });
    },
    leftOut: node => {
      if (rule !== undefined) tell({ event: 'node-left-out', node, ...rule, atMs: nowMs() });
    },
    failed: broken,
  };
  // It needs sockets, which one node doesn't.
  const find = async (): Promise<Found> => {
    waits.now({ waitsFor: 'endpoint', endpoint, limitMs: joinTimeoutMs });
    const met = await meetThere(settings, () => serving(core()), closing.signal);
    if ('stock' in met) {
      const { joinStock } = await import('./stock/join.js');
      return {
        begin: () => joinStock(job, met, { core, happen, tell, nowMs, waits }),
        close: () => met.stock.close(),
      };
    }
    isHere = met.isHere === true;
    const doorPort = await doorOf(settings, met, closing.signal);
    const whole = doorPort === undefined ? met : { ...met, doorPort };
    return {
      begin: soughtMs =>
        createTogether({ ...options, soughtMs }, { ...around, meet: () => Promise.resolve(whole) }),
      close: () => met.coordination.close(),
    };
  };
  const rendezvous = createFound(find, error => broken(asRendezvousError(error)));
  return {
    ...rendezvous,
    close() {
      closing.abort();
      trials.end();
      spacedWait.close();
      waits.close();
      givenRank.close();
      return rendezvous.close();
    },
  };
}

function optionsOf({ settings, localWorldSize, runId }: NodesJob): TogetherOptions & {
  readonly ranksAreGiven: boolean;
} {
  const { strikes, ...others } = settings;
  const rule = strikes === 'off' ? undefined : strikes;
  const { minNodes, maxNodes, nodesPerUnit, nodesSet, groupSize, leaseMs, spares } = settings;
  const name = hostname();
  return {
    ...others,
    ...(rule === undefined ? {} : { strikes: rule }),
    runId,
    ranksAreGiven: settings.rdzvBackend === 'static',
    agent: `${name}.${randomName(8)}`,
    hostname: name,
    localWorldSize,
    // In one order for all, as they are compared as a whole.
    settings: {
      version: tableVersion,
      minNodes,
      maxNodes,
      nodesPerUnit,
      nodesSet: [...new Set(nodesSet)].sort((a, b) => a - b),
      groupSize,
      leaseMs,
      ...(spares === undefined ? {} : { spares }),
    },
    policy: failurePolicyOf(settings),
    endsMs: (settings.graceMs.failure ?? settings.shutdownTimeoutMs) + endsMarginMs,
  };
}

/** A port at which other nodes try whether they reach this one. */
async function doorOf(
  { portRange }: Settings,
  { address }: Met,
  signal: AbortSignal,
): Promise<number | undefined> {
  // Others could find it only beyond the range.
  if (portRange !== undefined) return undefined;
  const { openDoor } = await import('./door.js');
  return openDoor(isLoopback(address) ? address : undefined, signal);
}

/** Reaches what agents meet at, as `meet` and `meetAtEtcd`. */
async function meetThere(
  settings: Settings,
  core: () => Pick<Core, 'serve' | 'keepLease'>,
  signal: AbortSignal,
): Promise<Met | StockMet> {
  if (settings.rdzvBackend === 'etcd') {
    const { meetAtEtcd } = await import('./meet-etcd.js');
    return meetAtEtcd(settings, signal);
  }
  const { meet } = await import('./meet.js');
  signal.throwIfAborted();
  return meet(settings, endpointOf(settings), core(), signal);
}

/** Where the server is that one of a job's nodes has. */
function endpointOf({ rdzvEndpoint = '' }: Settings): Required<Address> {
  const address = parseAddress(rdzvEndpoint);
  if (typeof address !== 'object' || address.port === undefined)
    throw new Error(`${rdzvEndpoint} has been checked`);
  return { host: address.host, port: address.port };
}
