import type { Change, Compare, Revision } from '../coordination/coordination.js';
import { type LeaderMemory, type LeaderOptions, lead } from './lead.js';
import type { FailureReport } from './rendezvous.js';
import {
  type Failure,
  failuresOf,
  isDone,
  type JobVerdict,
  keys,
  type Member,
  type MemberState,
  type Settings,
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
  /** A failure that isn't written yet. */
  readonly failure?: Failure;
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

export type ParticipantEvent =
  | { readonly event: 'seen'; readonly view: View }
  | { readonly event: 'leased' }
  /** The lease ended, or can't be known to live: whatever ran has been killed by the fence. */
  | { readonly event: 'lease-lost' }
  /** @param revision that the view must reach before it tells of what was written; 0: nothing is known of the write */
  | { readonly event: 'written'; readonly revision: Revision }
  | { readonly event: 'time' }
  // What the agent says.
  | { readonly event: 'join' }
  | { readonly event: 'failed'; readonly report: FailureReport }
  | { readonly event: 'succeeded' }
  | { readonly event: 'leave' };

/** What the agent is told. */
export type Told =
  | { readonly tell: 'round-formed'; readonly round: SharedRound; readonly groupRank: number }
  /** Workers of the round are to be stopped. */
  | { readonly tell: 'round-broken'; readonly round: number }
  | { readonly tell: 'verdict'; readonly verdict: JobVerdict }
  /** Others have been started otherwise. */
  | { readonly tell: 'refused'; readonly theirs: Settings };

export interface Write {
  readonly compares: readonly Compare[];
  readonly changes: readonly (Change & { readonly isLeased?: boolean })[];
}

export interface Step {
  readonly state: ParticipantState;
  readonly told: readonly Told[];
  readonly write?: Write;
  readonly wakeAtMs?: number;
}

export function step(
  before: ParticipantState,
  event: ParticipantEvent,
  nowMs: number,
  chance: number,
): Step {
  const { state, told } = follow(heard(before, event));
  return { told, ...decide(state, nowMs, chance) };
}

function heard(state: ParticipantState, event: ParticipantEvent): ParticipantState {
  const { local, view, self } = state;
  switch (event.event) {
    case 'seen':
      return { ...state, view: event.view };
    case 'leased':
      return { ...state, hasLease: true, incarnation: state.incarnation + 1 };
    case 'lease-lost': {
      const { failure: _, memory: __, ...rest } = state;
      return { ...rest, hasLease: false };
    }
    case 'written':
      return {
        ...state,
        isWriting: false,
        notBefore: Math.max(state.notBefore, event.revision),
      };
    case 'time':
      return state;
    case 'join':
      return { ...state, local: { is: 'waiting', round: roundOf(local, view) } };
    case 'failed':
      if (local.is !== 'running') return state; // it was told to stop before
      return {
        ...state,
        local: { is: 'stopping', round: local.round },
        failure: { ...event.report, round: local.round, agent: self.agent },
      };
    case 'succeeded':
      if (local.is !== 'running') return state;
      return { ...state, local: { is: 'done', round: local.round } };
    case 'leave':
      if (local.is === 'over') return state;
      return { ...state, local: { is: 'leaving', round: roundOf(local, view) } };
  }
}

/** The round that it has been in; for one that comes, -1. */
function roundOf(local: Local, view: View): number {
  if ('round' in local) return local.round;
  return local.is === 'idle' ? -1 : (view.round?.value.number ?? -1);
}

/** What the view means for the agent. */
function follow(state: ParticipantState): { state: ParticipantState; told: readonly Told[] } {
  const { view, local, self, options } = state;
  const over = { ...state, local: { is: 'over' } } as const;
  if (local.is === 'idle' || local.is === 'over' || local.is === 'leaving') {
    return { state, told: [] };
  }
  if (view.verdict !== undefined) {
    return { state: over, told: [{ tell: 'verdict', verdict: view.verdict.value }] };
  }
  const theirs = view.settings?.value;
  if (theirs !== undefined && !isSame(theirs, options.settings)) {
    return { state: over, told: [{ tell: 'refused', theirs }] };
  }
  const round = view.round?.value;
  if (round === undefined) return { state, told: [] };

  if (local.is === 'waiting' && round.number > local.round) {
    // It hears of the round when that's over: the leader waits to know that it never began.
    if (round.ending !== undefined) {
      return { state: { ...state, local: { is: 'waiting', round: round.number } }, told: [] };
    }
    const groupRank = round.participants.findIndex(
      ({ agent, incarnation }) => agent === self.agent && incarnation === state.incarnation,
    );
    // Without a lease, or in what an older one was in, nobody would know of its workers.
    if (groupRank < 0 || !state.hasLease) return { state, told: [] };
    const running = { ...state, local: { is: 'running', round: round.number } } as const;
    return { state: running, told: [{ tell: 'round-formed', round, groupRank }] };
  }
  if (local.is === 'running' || local.is === 'done') {
    // The others needn't wait for the leader's word: a failure ends the round in any case.
    const isOver =
      round.number !== local.round ||
      round.ending !== undefined ||
      failuresOf(view, local.round).length > 0;
    if (!isOver) return { state, told: [] };
    const stopping = { ...state, local: { is: 'stopping', round: local.round } } as const;
    return { state: stopping, told: [{ tell: 'round-broken', round: local.round }] };
  }
  return { state, told: [] };
}

function isSame(a: Settings, b: Settings): boolean {
  return (
    a.minNodes === b.minNodes && a.maxNodes === b.maxNodes && a.nodesPerUnit === b.nodesPerUnit
  );
}

/** The next write, if there's one to make. */
function decide(
  state: ParticipantState,
  nowMs: number,
  chance: number,
): { state: ParticipantState; write?: Write; wakeAtMs?: number } {
  const { view, self, local, failure, hasLease, options } = state;
  const isReady = hasLease && !state.isWriting && view.revision >= state.notBefore;
  if (!isReady || local.is === 'idle' || local.is === 'over') return { state };
  const writing = (write: Write, from = state) => ({ state: { ...from, isWriting: true }, write });

  if (view.settings === undefined) {
    return writing({
      compares: [{ key: keys.settings, is: 'absent' }],
      changes: [{ put: keys.settings, value: JSON.stringify(options.settings) }],
    });
  }
  // Before its own state, which frees the leader to go on.
  if (failure !== undefined) {
    const key = keys.failure(failure.round, self.agent);
    const { failure: _, ...rest } = state;
    if (view.failures.has(`${failure.round}/${self.agent}`)) return decide(rest, nowMs, chance);
    return writing({
      compares: [{ key, is: 'absent' }],
      changes: [{ put: key, value: JSON.stringify(failure) }],
    });
  }
  if (local.is === 'done' && !isDone(view, local.round, self.agent)) {
    const key = keys.done(local.round, self.agent);
    return writing({
      compares: [{ key, is: 'absent' }],
      changes: [{ put: key, value: 'true' }],
    });
  }
  const own = view.members.get(self.agent);
  const isInRound = local.is === 'stopping' || local.is === 'done';
  const wanted: Member = {
    ...self,
    incarnation: state.incarnation,
    state: isInRound ? { is: 'running', round: local.round } : local,
  };
  if (own === undefined || JSON.stringify(own.value) !== JSON.stringify(wanted)) {
    const key = keys.member(self.agent);
    return writing({
      compares: [own === undefined ? { key, is: 'absent' } : { key, modified: own.modified }],
      changes: [{ put: key, value: JSON.stringify(wanted), isLeased: true }],
    });
  }
  if (view.leader === undefined && local.is !== 'leaving') {
    return writing({
      compares: [{ key: keys.leader, is: 'absent' }],
      changes: [{ put: keys.leader, value: JSON.stringify({ agent: self.agent }), isLeased: true }],
    });
  }
  if (view.leader?.value.agent !== self.agent) {
    const { memory: _, ...rest } = state;
    return { state: rest };
  }

  const { memory, write, wakeAtMs } = lead(view, state.memory, options, nowMs, chance);
  const led = { ...state, memory };
  if (write === undefined) return { state: led, ...(wakeAtMs === undefined ? {} : { wakeAtMs }) };
  const { round } = view;
  return writing(
    {
      compares: [
        { key: keys.leader, modified: view.leader.modified },
        round === undefined
          ? { key: keys.round, is: 'absent' }
          : { key: keys.round, modified: round.modified },
        { key: keys.verdict, is: 'absent' },
      ],
      changes: [{ put: write.key, value: JSON.stringify(write.value) }],
    },
    led,
  );
}
