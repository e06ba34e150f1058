import type { Coordination } from '../coordination/coordination.js';
import type { MembershipOptions } from './membership.js';

/** The engine that a job's nodes meet at, once this one has reached it. */
export interface Met {
  readonly coordination: Coordination;
  /** Address that other nodes reach this one at. */
  readonly address: string;
  /** Whether the engine ends with this process. */
  readonly isHost: boolean;
  /** See MembershipOptions. */
  readonly keep?: MembershipOptions['around']['keep'];
  /** How long healthy workers run on when the engine's process has ended; absent: no longer than the fence allows. */
  readonly keptMs?: number;
}
