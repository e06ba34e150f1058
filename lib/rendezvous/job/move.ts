import {
  failuresOf,
  isDone,
  isSameSettings,
  isTold,
  type Kept,
  keys,
  type SharedRound,
  unchanged,
  type View,
} from './shared.js';
import { type Brought, type ParticipantState, type Write, withoutMemory } from './state.js';

/**
 * What follows where another server has taken the place of the one that a round was at, and this agent's fence hasn't
 * passed: it brings the round to the new table, which knows nothing. Nobody is taken for lost there before a lease's
 * time is over, since others may bring it later.
 */

/** Of a view where nothing has come from the new server yet. */
export const notBeforeAnew = Number.POSITIVE_INFINITY;

/** The agent has learned that its server is another one. */
export function moved(state: ParticipantState): ParticipantState {
  const isMoving = state.hasLease || state.isMoving;
  const brought = isMoving ? (state.brought ?? broughtOf(state.view)) : undefined;
  return {
    ...withoutMemory(state),
    hasLease: false,
    isMoving,
    notBefore: notBeforeAnew,
    ...(brought === undefined ? {} : { brought }),
  };
}

/** What it was in is lost: it can't bring anything any more. */
export function stranded({ brought: _, ...state }: ParticipantState): ParticipantState {
  return { ...state, isMoving: false };
}

function broughtOf(view: View): Brought | undefined {
  const round = view.round?.value;
  if (round === undefined) return undefined;
  const prefix = `${round.number}/`;
  const done = [...view.done.keys()].filter(key => key.startsWith(prefix));
  return {
    round,
    failures: failuresOf(view, round.number),
    done: done.map(key => key.slice(prefix.length)),
  };
}

/** Lets go of what the table has, and of what it has another round instead of: then this agent is astray. */
export function arrived(state: ParticipantState): ParticipantState {
  const { brought, view } = state;
  if (brought === undefined || state.notBefore === notBeforeAnew) return state;
  const { brought: _, ...rest } = state;
  if (missingOf(state, brought).length > 0) return state;
  const there = view.round?.value;
  if (there === undefined || isSameRound(there, brought.round)) return rest;
  const { local } = state;
  const wasIn = 'round' in local && local.round === brought.round.number;
  if (!wasIn || local.is === 'waiting') return rest;
  const { failure: __, ...astray } = rest;
  return { ...astray, isAstray: true };
}

/** The round that counts for an agent: the one that it brings, as long as the table hasn't that or a later one. */
export function latestRound({ view, brought }: ParticipantState): SharedRound | undefined {
  const there = view.round?.value;
  if (brought === undefined) return there;
  const isThere = there !== undefined && isSameRound(there, brought.round);
  return isThere && there.ending !== undefined ? there : brought.round;
}

/** Brings what's missing, unless others have changed any of it by then. */
export function bring(state: ParticipantState, brought: Brought): Write {
  const { view } = state;
  const some = missingOf(state, brought).slice(0, mostChanges);
  const facts = some.filter(({ key }) => key !== keys.round);
  return {
    compares: [
      unchanged(keys.round, view.round),
      unchanged(keys.verdict, undefined),
      ...facts.map(({ key, kept }) => unchanged(key, kept)),
    ],
    changes: some.map(({ key, value }) => ({ put: key, value: JSON.stringify(value) })),
  };
}

/** Of one write: engines take no more than 128 changes, nor comparisons. */
const mostChanges = 100;

interface Missing {
  readonly key: string;
  readonly value: unknown;
  /** What's there instead, and says less. */
  readonly kept?: Kept<unknown> | undefined;
}

/** What a table lacks of a round that's brought; nothing where it has another one. */
function missingOf(
  { view, options }: ParticipantState,
  { round, failures, done }: Brought,
): readonly Missing[] {
  const { number } = round;
  const there = view.round?.value;
  const isSame = there !== undefined && isSameRound(there, round);
  const isRestored = there?.isRestored === true;
  const isOlder = isRestored && there.number < number;
  if (there !== undefined && !isSame && !isOlder) return [];
  const isEndingMissing =
    isSame && isRestored && there.ending === undefined && round.ending !== undefined;
  const missing: Missing[] = [];
  const { settings } = view;
  // One that was started otherwise may have come first, and is refused.
  if (!isSameSettings(settings?.value, options.settings)) {
    missing.push({ key: keys.settings, value: options.settings, kept: settings });
  }
  if (!isSame || isEndingMissing) {
    missing.push({ key: keys.round, value: { ...round, isRestored: true } });
  }
  for (const failure of failures) {
    const kept = view.failures.get(`${number}/${failure.agent}`);
    if (kept !== undefined && isTold(failure, kept.value)) continue;
    missing.push({ key: keys.failure(number, failure.agent), value: failure, kept });
  }
  for (const agent of done) {
    if (!isDone(view, number, agent)) missing.push({ key: keys.done(number, agent), value: true });
  }
  return missing;
}

/** Rounds of two tables may have one number. */
function isSameRound(a: SharedRound, b: SharedRound): boolean {
  return (
    a.number === b.number &&
    a.participants.length === b.participants.length &&
    a.participants.every(({ agent, incarnation }, groupRank) => {
      const other = b.participants[groupRank];
      return agent === other?.agent && incarnation === other.incarnation;
    })
  );
}

/**
 * Whether the leader can't but know of this agent's workers from now on, so that they may run for as long as its lease
 * at the new server lives. One that forms a round has seen all that came before the last change of the one before, and
 * a restored one changes once more in between.
 */
export function isRegistered(state: ParticipantState): boolean {
  const { view, local, self, incarnation } = state;
  if (!state.hasLease) return false;
  if (!('round' in local) || local.is === 'waiting') return true; // no worker runs
  if (state.notBefore === notBeforeAnew || state.isAstray) return false;
  const round = view.round?.value;
  const isIn = ({ agent, incarnation: theirs }: { agent: string; incarnation: number }): boolean =>
    agent === self.agent && theirs === incarnation;
  return (
    view.members.get(self.agent)?.value.incarnation === incarnation &&
    round?.number === local.round &&
    round.participants.some(isIn) &&
    (round.ending === undefined || round.isRestored === true)
  );
}
