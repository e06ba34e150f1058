import type { WorkerFailure } from '../../events.js';
import type { FailurePolicy } from '../../options/failures.js';
import type { StoreClient } from '../../store/store.js';
import type { RendezvousEvent } from '../rendezvous.js';
import type { StockSettings } from './moves.js';
import type { Because, ParticipantState } from './participant.js';
import type { StoreAt } from './round/master.js';
import type { Generation, StockNode } from './state.js';

/** What an agent among those of PyTorch is given. */
export interface CompanyOptions {
  readonly runId: string;
  readonly node: StockNode;
  /** NAME (ADDRESS) of it. */
  readonly here: string;
  readonly settings: StockSettings;
  /** Which PyTorch the others have; absent: as the first of them writes. */
  readonly generation?: Generation;
  readonly localWorldSize: number;
  readonly role: string;
  readonly policy: FailurePolicy;
  /** Whether agents serve the workers' store, where their release can. */
  readonly agentStore: boolean;
  /** HOST:PORT of the store. */
  readonly endpoint: string;
  /** Whether it may be that of a node of ours. */
  readonly amongTorchrun: boolean;
}

/** What it needs of the agent. */
export interface CompanySurroundings {
  readonly store: StoreClient;
  /** Serves a round's store, at one port for all rounds. @throws ERR_PORT */
  openStore(round: number): number;
  closeStore(round: number): void;
  /** A port that this node's rank 0 may serve at. @throws ERR_PORT */
  freePort(): number;
  /** Whether a store answers there. */
  isThere(at: StoreAt, signal: AbortSignal): Promise<boolean>;
  /** Waits until the others have read the job's end, or that this node has left, where it has their store; bounded. */
  linger(why: 'end' | 'departure'): Promise<void>;
  setFence(atBootMs: number | undefined): void;
  bootMs(): number;
  nowMs(): number;
  tell(event: RendezvousEvent): void;
  /** What this node knows of the job, or what it's about, may have changed. */
  stepped(state: ParticipantState): void;
  /** The release of the others is known. */
  met(generation: Generation): void;
  /** A round is over for what has happened elsewhere. */
  notice(round: number, because: Because, nodes: readonly string[]): void;
  /** How workers of another of our nodes have failed. */
  peerFailed(round: number, failures: readonly WorkerFailure[]): void;
  /** Going on is in vain. */
  failed(error: unknown): void;
}
