import type { Change, Compare, Revision } from '../../coordination/coordination.js';
import type { LeaderMemory, LeaderOptions } from './lead.js';
import {
  emptyView,
  type Failure,
  type Member,
  type MemberState,
  type SharedRound,
  type View,
} from './shared.js';

/**
 * One agent's part in the rendezvous, as leader too where it is the one. Pure: whoever performs it feeds it what
 * happens, makes the write that it asks for, one at a time, and tells the agent what it's told.
 */
export interface ParticipantState {
  readonly self: Omit<Member, 'state' | 'incarnation'>;
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
  | { readonly is: 'over' };

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
