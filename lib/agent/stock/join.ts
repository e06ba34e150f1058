import { setTimeout as pause } from 'node:timers/promises';
import { launchError } from '../../errors.js';
import type { AgentEvent } from '../../events.js';
import { native } from '../../native/addon.js';
import { failurePolicyOf } from '../../options/failures.js';
import type { Settings } from '../../options/launch-options.js';
import { nodesDefaults, unknownToTorchrun } from '../../options/nodes.js';
import type { StockMet } from '../../rendezvous/met.js';
import type { RendezvousEvent } from '../../rendezvous/rendezvous.js';
import { createCompany } from '../../rendezvous/stock/company.js';
import type { StockSettings } from '../../rendezvous/stock/moves.js';
import type { ParticipantState } from '../../rendezvous/stock/participant.js';
import { nameOf } from '../../rendezvous/stock/state.js';
import { hereOf, releasesOf, shownNode } from '../../rendezvous/stock/words.js';
import type { Together } from '../../rendezvous/together.js';
import type { Waits } from '../../rendezvous/told/waits.js';
import { freePort } from '../../store/open-table.js';
import { hostname } from '../../system/hostname.js';
import type { Job } from '../../workers/job.js';
import type { Core } from '../core.js';
import { answers } from './find.js';
import { linger } from './linger.js';

/** What taking part among agents of torchrun needs of the agent. */
export interface StockSurroundings {
  core(): Core;
  happen(event: RendezvousEvent | { readonly event: 'broken'; readonly error: unknown }): void;
  tell(event: AgentEvent): void;
  nowMs(): number;
  readonly waits: Waits;
}

/** What of a job it looks at. */
type StockJob = Pick<Job, 'settings' | 'localWorldSize' | 'runId' | 'agentStore'>;

/** torchrun's own: a heartbeat each five seconds, and dead after three. */
const deadAfterMs = 15_000;
const heartbeats = 3;

/** How long whoever has the store stays at most for the others to have read the job's end, or that this node has left. */
const lingerMs = { end: 10_000, departure: 3_000 } as const;

/** Whether a store answers, where the others may keep one of a round before. */
const answerMs = 2_000;

/**
 * The rendezvous of a job whose agents meet at PyTorch's own store.
 *
 * @throws ERR_RENDEZVOUS where the options ask for what agents of torchrun don't know
 */
export function joinStock(job: StockJob, met: StockMet, around: StockSurroundings): Together {
  const { settings } = job;
  const { core, tell, nowMs, happen, waits } = around;
  const { rdzvEndpoint: endpoint = '', joinTimeoutMs, lastCallMs } = settings;
  const { address } = met;
  refuse(settings);
  // Nobody else has this number on any machine of this name, be it a container's first process or a program's second launch.
  const node = { address, pid: process.pid, localId: randomId(), others: new Map() };
  return createCompany(
    {
      ...{ runId: job.runId, node, here: `${hostname()} (${address})`, endpoint },
      settings: stockSettings(settings),
      localWorldSize: job.localWorldSize,
      role: settings.role,
      policy: failurePolicyOf(settings),
      agentStore: job.agentStore,
      amongTorchrun: settings.amongTorchrun === true,
    },
    {
      store: met.stock,
      openStore: round => core().openKeptTable(round).port,
      closeStore: round => core().closeTable(round),
      freePort: () => freePort(address, settings.portRange ?? 0),
      linger: why => linger({ ...core(), nowMs, pause }, lingerMs[why]),
      isThere: (at, signal) => answers({ ...at, timeoutMs: answerMs, signal }),
      setFence: atMs => core().setFence(atMs),
      bootMs: () => native().boottimeMs(),
      nowMs,
      tell: happen,
      stepped: state => waits.now(waitOf(state, { endpoint, joinTimeoutMs, lastCallMs })),
      met: generation =>
        tell({
          ...{ event: 'joins-torchrun', endpoint, release: releasesOf(generation) },
          atMs: nowMs(),
        }),
      notice: (round, because, nodes) =>
        tell({ event: 'round-broken', round, because, nodes, atMs: nowMs() }),
      peerFailed: (round, failures) =>
        tell({ event: 'peer-failed', round, failures, atMs: nowMs() }),
      failed: error => happen({ event: 'broken', error }),
    },
  );
}

/** @throws ERR_RENDEZVOUS */
function refuse(settings: Settings): void {
  const asked = unknownToTorchrun(settings).map(({ flag }) => flag);
  if (asked.length === 0) return;
  const why = `agents of torchrun have the store at ${settings.rdzvEndpoint}, and know of no ${asked.join(' and no ')}; leave it away, or start all nodes with regroup`;
  throw launchError('ERR_RENDEZVOUS', [why]);
}

function stockSettings(settings: Settings): StockSettings {
  const { minNodes, maxNodes, lastCallMs, joinTimeoutMs, leaseMs } = settings;
  const dead = leaseMs === nodesDefaults.leaseMs ? deadAfterMs : leaseMs;
  const times = { lastCallMs, joinTimeoutMs, keepAliveMs: dead / heartbeats, deadAfterMs: dead };
  return { minNodes, maxNodes, ...times };
}

function randomId(): number {
  return 1 + Math.floor(Math.random() * (2 ** 31 - 2));
}

/** What a node waits for, as with nodes of our own. */
function waitOf(
  { wish, view, settings, node }: ParticipantState,
  {
    endpoint,
    joinTimeoutMs,
    lastCallMs,
  }: { readonly endpoint: string; readonly joinTimeoutMs: number; readonly lastCallMs: number },
): Parameters<Waits['now']>[0] {
  if (wish.is !== 'round') return undefined;
  const { minNodes, maxNodes } = settings;
  const here = hereOf(view).map(shownNode);
  const own = view?.spares.has(nameOf(node)) === true;
  if (view?.isComplete === true && own)
    return { waitsFor: 'place', round: view.round, nodes: view.participants.size, maxNodes };
  const isLastCall = view?.deadline !== undefined;
  const limitMs = isLastCall ? lastCallMs : joinTimeoutMs;
  return { waitsFor: 'nodes', endpoint, minNodes, maxNodes, here, ending: [], limitMs };
}
