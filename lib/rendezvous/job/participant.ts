import type { Revision } from '../../coordination/coordination.js';
import type { FailureReport } from '../rendezvous.js';
import { arrived, latestRound, moved, stranded } from './move.js';
import { forOthers } from './report.js';
import {
  type Ending,
  type Failure,
  failuresOf,
  isNewer,
  isSameSettings,
  type JobVerdict,
  pastOf,
  type Settings,
  type SharedRound,
  type View,
} from './shared.js';
import { type Local, type ParticipantState, type Write, withoutMemory } from './state.js';
import { decide } from './write.js';

export type ParticipantEvent =
  /** @param isAnew whether all of it was read anew, perhaps from another server, whose revisions are others */
  | { readonly event: 'seen'; readonly view: View; readonly isAnew: boolean }
  | { readonly event: 'leased' }
  /** Another server has taken the place of the one that was: a view that's read anew follows, and a lease. */
  | { readonly event: 'moved' }
  /** The lease ended, or can't be known to live: whatever ran has been killed by the fence. */
  | { readonly event: 'lease-lost' }
  /** @param revision that the view must reach before it tells of what was written; 0: nothing is known of the write */
  | { readonly event: 'written'; readonly revision: Revision }
  | { readonly event: 'time' }
  // What the agent says.
  | { readonly event: 'join' }
  /** Some workers of the round have failed, and the others are being stopped. */
  | { readonly event: 'failing'; readonly round: number }
  /** They are gone: it's to be told what follows. */
  | { readonly event: 'failed'; readonly report: FailureReport }
  | { readonly event: 'succeeded' }
  | { readonly event: 'leave' }
  /** The job has failed, and its workers are gone. */
  | { readonly event: 'concluded' };

/** What the agent is told. */
export type Told =
  | { readonly tell: 'round-formed'; readonly round: SharedRound; readonly groupRank: number }
  /** Workers of the round are to be stopped, and another round follows, or the verdict. */
  | {
      readonly tell: 'round-broken';
      readonly round: number;
      readonly because: Ending['because'];
      readonly agents: readonly string[];
    }
  /** Another round follows the one whose failure it has reported. The leader spends the pause, too. */
  | {
      readonly tell: 'restart';
      readonly round: number;
      /** Absent: the round didn't end for a failure, or nobody knows any more. */
      readonly ending?: Ending;
      readonly spent: number;
    }
  | { readonly tell: 'verdict'; readonly verdict: JobVerdict }
  /** Others have been started otherwise. */
  | { readonly tell: 'refused'; readonly theirs: Settings }
  /** Nothing is left of the job, and nobody knows how it ended. */
  | { readonly tell: 'missed' };

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
  const arriving = arrived(heard(before, event));
  const { state, told } = hasMissed(before, arriving) ? missed(arriving) : follow(arriving);
  return { told, ...decide(state, nowMs, chance) };
}

function heard(state: ParticipantState, event: ParticipantEvent): ParticipantState {
  const { local, view, self } = state;
  switch (event.event) {
    case 'seen': {
      const seen = withPast(state, event.view);
      if (!event.isAnew) return { ...seen, view: event.view };
      return {
        ...withoutMemory(seen),
        view: event.view,
        notBefore: 0,
        local: event.view.round === undefined ? afterRound(local, view) : local,
      };
    }
    case 'leased':
      return {
        ...state,
        hasLease: true,
        isMoving: false,
        // Whoever moves stays who it was.
        incarnation: state.incarnation + (state.isMoving ? 0 : 1),
      };
    case 'moved':
      return moved(state);
    case 'lease-lost': {
      const { failure: _, ...rest } = stranded(withoutMemory(state));
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
    case 'join': {
      const { asked: _, isAstray: __, ...rest } = state;
      return { ...rest, local: { is: 'waiting', round: roundOf(local, view) } };
    }
    case 'failing':
      if (local.is !== 'running' || local.round !== event.round) return state; // it was told to stop before
      return {
        ...state,
        local: { is: 'stopping', round: local.round },
        failure: { agent: self.agent, round: local.round },
      };
    case 'failed': {
      const { report } = event;
      const { round } = report;
      const asked = { ...state, asked: round };
      // The others have broken the round before, and count what they failed of.
      const isOwn = state.failure?.round === round || hasFailed(state, round);
      if (local.is === 'leaving' || !('round' in local) || local.round !== round) return asked;
      if (state.isAstray) return asked;
      if (local.is !== 'running' && !isOwn) return asked;
      const failure = { agent: self.agent, round, report: forOthers(report) };
      return { ...asked, local: { is: 'stopping', round }, failure };
    }
    case 'succeeded':
      if (local.is !== 'running') return state;
      return { ...state, local: { is: 'done', round: local.round } };
    case 'leave':
      if (local.is === 'over') return state;
      return { ...state, local: { is: 'leaving', round: roundOf(local, view) } };
    case 'concluded':
      if (local.is !== 'over') return state;
      return { ...state, local: { is: 'over', hasConcluded: true } };
  }
}

/** Whether others know of a failure of this agent's workers, or will by what it brings. */
function hasFailed({ view, brought, self }: ParticipantState, round: number): boolean {
  const isIts = (failure: Failure): boolean =>
    failure.agent === self.agent && failure.round === round;
  return view.failures.has(`${round}/${self.agent}`) || (brought?.failures.some(isIts) ?? false);
}

/** Remembers the round that another table has lost, until that has one which is as new. */
function withPast({ past, ...state }: ParticipantState, { round, table }: View): ParticipantState {
  const before = state.view.round?.value;
  const isLost = before !== undefined && table !== state.view.table && wasThere(state);
  const known = isLost ? pastOf(before) : past;
  const isThere = known === undefined || (round !== undefined && !isNewer(known, round.value));
  return isThere ? state : { ...state, past: known };
}

/** Its table was cleared, as whoever is the last to leave does: without this node, which was cut off. */
function hasMissed(before: ParticipantState, { view, local }: ParticipantState): boolean {
  const isSame = view.table === before.view.table;
  const isGone = before.view.round !== undefined && view.round === undefined;
  return isSame && isGone && wasThere(before) && view.verdict === undefined && local.is !== 'idle';
}

/** Whether others knew of it: one that has only read what another run of the job has left was never a part of that. */
function wasThere({ view, self }: ParticipantState): boolean {
  const isIn = view.round?.value.participants.some(({ agent }) => agent === self.agent) ?? false;
  return isIn || view.members.has(self.agent);
}

/** One that waits, and has seen a round that the table doesn't know any more: its workers may run still. */
function afterRound(local: Local, { round }: View): Local {
  if (local.is !== 'waiting' || round === undefined) return local;
  return { is: 'waiting', round: Math.max(local.round, round.value.number) };
}

/** The round that it has been in; for one that comes, -1. */
function roundOf(local: Local, view: View): number {
  if ('round' in local) return local.round;
  return local.is === 'idle' ? -1 : (view.round?.value.number ?? -1);
}

function missed(state: ParticipantState): { state: ParticipantState; told: readonly Told[] } {
  const { is } = state.local;
  if (is === 'over' || is === 'leaving') return { state, told: [] };
  return { state: { ...state, local: { is: 'over' } }, told: [{ tell: 'missed' }] };
}

/** What the view means for the agent. */
function follow(state: ParticipantState): { state: ParticipantState; told: readonly Told[] } {
  const { view, local, self, options } = state;
  const over = { ...state, local: { is: 'over' } } as const;
  if (local.is === 'idle' || local.is === 'over' || local.is === 'leaving') {
    // Nobody waits for what it tells.
    return state.asked === undefined
      ? { state, told: [] }
      : answered(state, state.asked, latestRound(state));
  }
  if (view.verdict !== undefined) {
    return { state: over, told: [{ tell: 'verdict', verdict: view.verdict.value }] };
  }
  const theirs = view.settings?.value;
  // Whoever brings a round brings its settings.
  if (
    theirs !== undefined &&
    state.brought === undefined &&
    !isSameSettings(theirs, options.settings)
  ) {
    return { state: over, told: [{ tell: 'refused', theirs }] };
  }
  const round = latestRound(state);
  const { asked } = state;
  // Without a lease nobody hears of it, perhaps for long: joining has a limit.
  const isUnheard = !(state.hasLease || state.isMoving) || round === undefined || state.isAstray;
  if (asked !== undefined && (isUnheard || isOver(round, asked))) {
    return answered(state, asked, round);
  }
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
    const [failure] = failuresOf(view, local.round);
    const isOn = !isOver(round, local.round) && !state.isAstray;
    if (isOn && failure === undefined) return { state, told: [] };
    const ending = round.number === local.round ? round.ending : undefined;
    const { because, agents } =
      failure === undefined
        ? (ending ?? { because: 'lost' as const, agents: [] })
        : { because: 'failed' as const, agents: [failure.agent] };
    const stopping = { ...state, local: { is: 'stopping', round: local.round } } as const;
    return {
      state: stopping,
      told: [{ tell: 'round-broken', round: local.round, because, agents }],
    };
  }
  return { state, told: [] };
}

/** Whether a round is over, now that `latest` is the last one. */
function isOver(latest: SharedRound, round: number): boolean {
  return latest.number !== round || latest.ending !== undefined;
}

function answered(
  { asked: _, ...state }: ParticipantState,
  round: number,
  latest: SharedRound | undefined,
): { state: ParticipantState; told: readonly Told[] } {
  const ending = latest?.number === round ? latest.ending : undefined;
  const spent = latest?.ledger.spent ?? 0;
  const told = {
    tell: 'restart',
    round,
    spent,
    ...(ending === undefined ? {} : { ending }),
  } as const;
  return { state, told: [told] };
}
