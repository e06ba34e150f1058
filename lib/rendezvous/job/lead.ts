import { emptyLedger, judge } from '../../failures/policy.js';
import { rootCauseOf } from '../../failures/root-cause.js';
import type { FailurePolicy } from '../../options/failures.js';
import type { FailureReport } from '../rendezvous.js';
import { type Candidate, chosenOf, sizeOf } from './choose.js';
import { orderOf } from './order.js';
import { failedRoundOf } from './report.js';
import {
  type Failure,
  failuresOf,
  isDone,
  type JobVerdict,
  latestPast,
  type Member,
  type Participant,
  type Settings,
  type SharedRound,
  type View,
} from './shared.js';
import { asOf, current, leftOutUntil, noStrikes, type StrikeRule, struck } from './strikes.js';

/**
 * What the leader decides: the next change of the round, or the verdict. It looks at nothing but the view and its own
 * clock, so that whoever takes its place goes on where it was.
 */

export interface LeaderOptions {
  /** Who leads. */
  readonly agent: string;
  readonly settings: Settings;
  readonly policy: FailurePolicy;
  /** For others to come, once there are enough for the first round. */
  readonly lastCallMs: number;
  /** For one that was lost to come back, before its place is another's or the job goes on without it. */
  readonly returnGraceMs: number;
  /** From a newcomer on, for others to come, before a live round ends for them. */
  readonly growDebounceMs: number;
  /** Absent: no node is left out, however often its workers fail. */
  readonly strikes?: StrikeRule;
  /** Of two agents on one node that were given the same rank, only the first one takes part. @default false */
  readonly ranksAreGiven?: boolean;
}

/** Times that the view doesn't tell, as this leader saw them. They begin anew with a new leader. */
export interface LeaderMemory {
  /** The change of the round that they are about; 0: there's none yet. */
  readonly roundModified: number;
  readonly sinceMs: number;
  /** When it has first looked at this table. */
  readonly tableSinceMs: number;
  /** When there were enough nodes, be it for the next round or for a larger one. */
  readonly enoughSinceMs?: number;
}

export type LeaderWrite =
  | { readonly key: 'round'; readonly value: SharedRound }
  | { readonly key: 'verdict'; readonly value: JobVerdict };

export interface Lead {
  readonly memory: LeaderMemory;
  readonly write?: LeaderWrite;
  /** When to look again, should nothing change before. */
  readonly wakeAtMs?: number;
}

/** @param chance drawn for this decision, at least 0 and below 1 */
export function lead(
  view: View,
  before: LeaderMemory | undefined,
  options: LeaderOptions,
  nowMs: number,
  chance: number,
): Lead {
  const roundModified = view.round?.modified ?? 0;
  const memory =
    before?.roundModified === roundModified
      ? before
      : { roundModified, sinceMs: nowMs, tableSinceMs: before?.tableSinceMs ?? nowMs };
  if (view.verdict !== undefined) return { memory };
  const round = view.round?.value;
  // Whoever was in it has come by then, or has killed its workers. Those that come now see that they're late.
  const settleAtMs = memory.tableSinceMs + options.settings.leaseMs;
  if (round?.isRestored && nowMs >= settleAtMs) {
    const { isRestored: _, ...value } = round;
    return { memory, write: { key: 'round', value } };
  }
  if (round?.isRestored && round.ending !== undefined) return { memory, wakeAtMs: settleAtMs };
  if (round === undefined || round.ending !== undefined) {
    return form(view, round, memory, options, nowMs);
  }

  const failures = failuresOf(view, round.number);
  // One that told of a failure reports it once its workers are gone, unless it's gone with them.
  const isAwaited = ({ agent, report }: Failure): boolean =>
    report === undefined &&
    round.participants.some(each => each.agent === agent && isStillIn(view, each, round));
  if (failures.some(isAwaited)) return { memory };
  const reports = failures.flatMap(({ agent, report }) =>
    report === undefined ? [] : [{ agent, report }],
  );
  const root = rootOf(reports);
  if (root !== undefined) return { memory, write: answer(round, root, options, nowMs, chance) };
  if (round.participants.every(({ agent }) => isDone(view, round.number, agent))) {
    return { memory, write: { key: 'verdict', value: { is: 'succeeded' } } };
  }
  if (round.isRestored) return { memory, wakeAtMs: settleAtMs };
  const gone = round.participants.filter(
    (each, groupRank) =>
      !isStillIn(view, each, round) ||
      // The others' workers use its store.
      (groupRank === 0 && memberOf(view, each) === undefined),
  );
  if (gone.length > 0) {
    const isLost = gone.some(each => memberOf(view, each) === undefined);
    const counted = counts(round, options, memory.sinceMs, nowMs);
    return { memory, write: end({ ...round, ...counted }, isLost ? 'lost' : 'left', gone) };
  }
  return grow(view, round, memory, options, nowMs);
}

/** Whether a participant of a live round takes part in it, or is about to. */
function isStillIn(view: View, participant: Participant, { number }: SharedRound): boolean {
  if (isDone(view, number, participant.agent)) return true; // and may go
  const state = memberOf(view, participant)?.state;
  if (state === undefined || state.is === 'leaving') return false;
  // One that waits for the next round has left this one; one that waits for this one hasn't seen it yet.
  return state.is === 'waiting' ? state.round < number : state.round === number;
}

/** The member that a participant is, unless it's lost: one that has come back since is another. */
function memberOf(view: View, { agent, incarnation }: Participant): Member | undefined {
  const member = view.members.get(agent)?.value;
  return member?.incarnation === incarnation ? member : undefined;
}

interface Reported {
  readonly agent: string;
  readonly report: FailureReport;
}

/**
 * The report that tells what came first: among equals the one that was told of first. A worker's own end beats what
 * signals did, and a hang or a lack of memory beats what they made others do.
 */
function rootOf(reports: readonly Reported[]): Reported | undefined {
  const clues = reports.map((each, index) => {
    const [first] = each.report.failures;
    const cause = first?.cause ?? 'own';
    const isOutOfMemory = first?.outOfMemory !== undefined;
    // Nodes' clocks can't be compared: only the order counts.
    return { cause, isOutOfMemory, seenAtMs: index, each };
  });
  return rootCauseOf(clues)?.each;
}

function answer(
  round: SharedRound,
  { agent, report }: Reported,
  options: LeaderOptions,
  nowMs: number,
  chance: number,
): LeaderWrite {
  const counted = counts(round, options, nowMs, nowMs);
  const failed = { ...failedRoundOf(report), atMs: nowMs, chance };
  const judgement = judge(options.policy, counted.ledger, failed);
  if (judgement.do === 'fail') {
    const { do: _, ...why } = judgement;
    return { key: 'verdict', value: { is: 'failed', ...why, round: round.number, agent } };
  }
  const { do: _, ledger, ...rest } = judgement;
  const node = round.participants.find(each => each.agent === agent)?.node ?? agent;
  const strikes = struck(counted.strikes, node, options.strikes, nowMs);
  const ending = { because: 'failed', agents: [agent], ...rest } as const;
  return { key: 'round', value: { ...round, ...counted, ledger, strikes, ending } };
}

/**
 * What failures have cost so far. Another leader's clock says nothing here: what it has counted counts as of a time of
 * this one's.
 */
function counts(
  round: Pick<SharedRound, 'ledger' | 'strikes' | 'clock'> | undefined,
  { agent, strikes: rule }: LeaderOptions,
  atMs: number,
  nowMs: number,
): Required<Pick<SharedRound, 'ledger' | 'strikes' | 'clock'>> {
  const { ledger, strikes = noStrikes, clock } = round ?? { ledger: emptyLedger, clock: agent };
  if (clock === agent) return { ledger, strikes: current(strikes, rule, nowMs), clock };
  const restartedAtMs = ledger.restartedAtMs.map(() => atMs);
  return { ledger: { ...ledger, restartedAtMs }, strikes: asOf(strikes, rule, atMs), clock: agent };
}

function end(
  round: SharedRound,
  because: 'lost' | 'left' | 'growth',
  who: readonly { readonly agent: string }[],
): LeaderWrite {
  const agents = who.map(({ agent }) => agent);
  return { key: 'round', value: { ...round, ending: { because, agents, delayMs: 0 } } };
}

/** Ends a live round for newcomers, once no more of them may come, or all that there's room for have. */
function grow(
  view: View,
  round: SharedRound,
  memory: LeaderMemory,
  options: LeaderOptions,
  nowMs: number,
): Lead {
  const { settings, growDebounceMs } = options;
  const { enoughSinceMs = nowMs, ...rest } = memory;
  const { participants } = round;
  const counted = counts(round, options, memory.sinceMs, nowMs);
  const { strikes } = counted;
  const all = waiting(view, round, options);
  const untilMs = all.map(({ node }) => leftOutUntil(strikes, node, nowMs));
  const newcomers = all.filter((_, index) => untilMs[index] === undefined);
  const struckMs = Math.min(...untilMs.flatMap(each => each ?? []));
  const wait = Number.isFinite(struckMs) ? { wakeAtMs: struckMs } : {};
  if (newcomers.length === 0) return { memory: rest, ...wait };
  const present = participants.map(each => ({ ...each, since: 0 }));
  const size = chosenOf([...present, ...newcomers], participants, settings).length;
  if (size <= participants.length) return { memory: rest, ...wait };
  const dueMs =
    size === sizeOf(settings, settings.maxNodes) ? nowMs : enoughSinceMs + growDebounceMs;
  if (nowMs >= dueMs) {
    return { memory: rest, write: end({ ...round, ...counted }, 'growth', newcomers) };
  }
  return { memory: { ...rest, enoughSinceMs }, wakeAtMs: Math.min(dueMs, struckMs) };
}

function form(
  view: View,
  round: SharedRound | undefined,
  memory: LeaderMemory,
  options: LeaderOptions,
  nowMs: number,
): Lead {
  const { settings, lastCallMs, returnGraceMs } = options;
  const { enoughSinceMs = nowMs, ...rest } = memory;
  const before = round?.participants ?? [];
  // Nobody starts while workers of the round before may run.
  const isOut = (participant: Participant): boolean => {
    const state = memberOf(view, participant)?.state;
    return state === undefined || (state.is === 'waiting' && state.round >= (round?.number ?? 0));
  };
  if (!before.every(isOut)) return { memory: rest };
  const counted = counts(latestPast(view), options, memory.sinceMs, nowMs);
  const candidates = waiting(view, round, options).map(each => ({
    ...each,
    isStruck: leftOutUntil(counted.strikes, each.node, nowMs) !== undefined,
  }));
  const chosen = chosenOf(candidates, before, settings);
  const size = chosen.length;
  if (size === 0) return { memory: rest };

  // A spare takes the place of one that has said that it goes, and of another one only if that doesn't come back.
  const { because, agents: gone = [] } = round?.ending ?? {};
  const nodes = new Set(candidates.map(({ node }) => node));
  const isBack = ({ agent, node }: Participant): boolean =>
    nodes.has(node) || (because === 'left' && gone.includes(agent));
  const isComplete =
    before.every(isBack) &&
    (size === sizeOf(settings, settings.maxNodes) || (before.length > 0 && size >= before.length));
  // A table that came anew, after its server was lost, doesn't know the last round; its members do. Workers of others
  // that were in it may run until their leases would have ended.
  const known = Math.max(-1, ...[...view.members.values()].map(({ value }) => value.state.round));
  const isLost = round === undefined && known >= 0;
  const patienceMs = round === undefined ? lastCallMs : returnGraceMs;
  const pauseEndMs = memory.sinceMs + (isLost ? settings.leaseMs : (round?.ending?.delayMs ?? 0));
  const dueMs = Math.max(pauseEndMs, isComplete ? nowMs : enoughSinceMs + patienceMs);
  if (nowMs < dueMs) return { memory: { ...rest, enoughSinceMs }, wakeAtMs: dueMs };

  const participants = orderOf(chosen, before).map(participantOf);
  const number = Math.max(round?.number ?? -1, known) + 1;
  const value: SharedRound = {
    number,
    restartCount: number,
    participants,
    ...counted,
  };
  return { memory: rest, write: { key: 'round', value } };
}

/** Who's ready for a round after this one. */
function waiting(
  view: View,
  round: SharedRound | undefined,
  { ranksAreGiven = false }: LeaderOptions,
): readonly Candidate[] {
  const candidates: Candidate[] = [];
  const incarnations = new Map(round?.participants.map(each => [each.agent, each.incarnation]));
  for (const { value, created } of view.members.values()) {
    const { agent, incarnation, hint, state } = value;
    if (state.is !== 'waiting') continue;
    const wasIn = incarnations.get(agent) === incarnation;
    if (wasIn && state.round < (round?.number ?? 0)) continue;
    candidates.push({
      ...participantOf(value),
      since: created,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  if (!ranksAreGiven) return candidates;
  const placeOf = ({ node, hint }: Candidate): string => `${hint} ${node}`;
  const firsts = new Map<string, number>();
  for (const each of candidates) {
    const place = placeOf(each);
    firsts.set(place, Math.min(each.since, firsts.get(place) ?? each.since));
  }
  return candidates.filter(each => firsts.get(placeOf(each)) === each.since);
}

/** What's written of one that takes part. */
function participantOf(member: Participant): Participant {
  const { agent, incarnation, node, localWorldSize, group } = member;
  return { agent, incarnation, node, localWorldSize, ...(group === undefined ? {} : { group }) };
}
