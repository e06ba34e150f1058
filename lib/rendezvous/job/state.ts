import type { Change, Compare, Revision } from '../../coordination/coordination.js';
import type { LeaderMemory, LeaderOptions } from './lead.js';
import {
  emptyView,
  type Failure,
  type Member,
  type MemberState,
  type Past,
  type SharedRound,
  type View,
} from './shared.js';

/**
 * One agent's part in the rendezvous, as leader too where it is the one. Pure: whoever performs it feeds it what
 * happens, makes the write that it asks for, one at a time, and tells the agent what it's told.
 */
export interface ParticipantState {
  readonly self: Omit<Member, 'state' | 'incarnation' | 'past'>;
  /** Leases that it has had. */
  readonly incarnation: number;
  readonly options: LeaderOptions;
  readonly view: View;
  /** This agent's own state, whether or not the others know it yet. */
  readonly local: Local;
  /** Whether members of this agent live with its lease. */
  readonly hasLease: boolean;
  /** Its lease was at a server whose place another one has taken, and it'll have one there unless its fence passes. */
  readonly isMoving: boolean;
  /** What the other one's table may lack. */
  readonly brought?: Brought;
  /** The other one's table has a round of the same number, or a later one, that this agent's workers aren't in. */
  readonly isAstray?: true;
  /**
   * The last round that it knew, where another table has taken the place of the one that had it. Whoever leads goes on with
   * its budget; and who was with others there begins no other one alone, as the job may have ended, or go on elsewhere.
   */
  readonly past?: Past;
  /** A failure that isn't written yet, or not all of it. */
  readonly failure?: Failure;
  /** The round whose failure the agent has reported, as long as it isn't told what follows. */
  readonly asked?: number;
  readonly memory?: LeaderMemory;
  /** A write is under way. */
  readonly isWriting: boolean;
  /** The view must be as new before the next write is decided. */
  readonly notBefore: Revision;
}

/** What an agent is about, by what it said and what it was told. */
export type Local =
  | { readonly is: 'idle' }
  | MemberState
  /** Its workers of the round have all succeeded. */
  | { readonly is: 'done'; readonly round: number }
  /** In a round that is over: it was told so. */
  | { readonly is: 'stopping'; readonly round: number }
  /** It was told that the job is over, or that it can't take part. */
  | {
      readonly is: 'over';
      /** No worker of it is left, and the others know what became of them; it hears what became of theirs. */
      readonly hasConcluded?: true;
    };

export function initialParticipant(
  self: ParticipantState['self'],
  options: LeaderOptions,
): ParticipantState {
  return {
    self,
    options,
    view: emptyView,
    incarnation: 0,
    local: { is: 'idle' },
    hasLease: false,
    isMoving: false,
    isWriting: false,
    notBefore: 0,
  };
}

/** An agent's beginning, whose node others reach at that address. */
export function beginningOf(
  options: LeaderOptions & {
    readonly hostname: string;
    readonly nodeRank?: number;
    readonly nodeGroup?: string;
    readonly localWorldSize: number;
  },
  { address, doorPort }: { readonly address: string; readonly doorPort?: number },
): ParticipantState {
  const { agent, hostname, nodeRank, nodeGroup, localWorldSize } = options;
  const hint = nodeRank === undefined ? {} : { hint: nodeRank };
  const group = nodeGroup === undefined ? {} : { group: nodeGroup };
  const door = doorPort === undefined ? {} : { door: { host: address, port: doorPort } };
  const node = `${hostname} (${address})`;
  return initialParticipant({ agent, node, localWorldSize, ...group, ...hint, ...door }, options);
}

/** The round that an agent's workers may be in. */
export function workersRoundOf(state: ParticipantState | undefined): number | undefined {
  const { local } = state ?? {};
  if (local === undefined || local.is === 'waiting' || !('round' in local)) return undefined;
  return local.round;
}

/** What a leader remembers is of one table. */
export function withoutMemory({ memory: _, ...state }: ParticipantState): ParticipantState {
  return state;
}

/** The last round at the server before, and what has become of it there. */
export interface Brought {
  readonly round: SharedRound;
  readonly failures: readonly Failure[];
  /** Agents whose workers have all succeeded; they may have gone since. */
  readonly done: readonly string[];
}

/** Changes of the table that a participant asks for: all of them, if the comparisons hold. */
export interface Write {
  readonly compares: readonly Compare[];
  readonly changes: readonly (Change & { readonly isLeased?: boolean })[];
}
