import type { Coordination } from '../coordination/coordination.js';
import type { StoreClient } from '../store/store.js';
import type { MembershipOptions } from './membership.js';

/** The engine that a job's nodes meet at, once this one has reached it. */
export interface Met {
  readonly coordination: Coordination;
  /** Address that other nodes reach this one at. */
  readonly address: string;
  /** Where they try whether they do. */
  readonly doorPort?: number;
  /** Whether the engine ends with this process, as it is now. */
  readonly isHost: () => boolean;
  /** Whether it's this process's own, and was reached at an address of this machine. @default false */
  readonly isHere?: boolean;
  /** See MembershipOptions. */
  readonly keep?: MembershipOptions['around']['keep'];
  /** How long healthy workers run on when the engine's process has ended, as its refusals say; absent: no longer than the fence allows. */
  readonly keptMs?: number;
}

/** PyTorch's own store, which agents of torchrun meet at, where it's that which a job's endpoint leads to. */
export interface StockMet {
  readonly stock: StoreClient;
  /** Address that other nodes reach this one at. */
  readonly address: string;
}
