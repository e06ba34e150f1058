import { unreachable } from '../../util/unreachable.js';

/**
 * The life of one node's standbys: when they're made, taken over and given up. Pure; `standbys.ts` performs the actions. A group
 * of them has a number of its own, which no round bears.
 */

export interface StandbyPolicy {
  /** How many workers this node has. */
  readonly count: number;
  /** From a round's start to the start of its standbys. */
  readonly afterMs: number;
  /** For all to be parked, from their start. */
  readonly parkMs: number;
  /** Groups in a row that are lost before there are no more. */
  readonly maxLost: number;
  /** Whether the first round, too, is to start from standbys. */
  readonly prestarts: boolean;
}

interface Common {
  readonly policy: StandbyPolicy;
  /** The round that runs; `awaited`: the first has yet to come, and is to have standbys; absent: none runs. */
  readonly round?: number | 'awaited';
  /** Whether the interpreter has been seen to park, and so won't run the script at once. */
  readonly isProven: boolean;
  /** Groups that were lost since the last that was parked and taken. */
  readonly lost: number;
  /** Whether none may be made: memory or processes are short. */
  readonly isHeld: boolean;
  /** Of the next group. */
  readonly next: number;
}

export type StandbyState =
  /** There are none, and none will be made. */
  | { readonly phase: 'off' }
  | (Common & { readonly phase: 'none' })
  /** One interpreter shows that it parks, without a script. */
  | (Common & { readonly phase: 'proving'; readonly group: number })
  | (Common & {
      readonly phase: 'importing';
      readonly group: number;
      /** Whether it's known that all have started. */
      readonly hasStarted: boolean;
      /** Local ranks. */
      readonly parked: readonly number[];
    })
  | (Common & { readonly phase: 'parked'; readonly group: number });

export type StandbyHappening =
  /** All of a round's workers have started. `isLast`: no round can follow it. */
  | { readonly event: 'round-runs'; readonly round: number; readonly isLast: boolean }
  | { readonly event: 'round-over' }
  /** The machine is ready for those of the first round, and what they import is known. */
  | { readonly event: 'prestart' }
  /** What `arm` asked for. */
  | { readonly event: 'due'; readonly round: number }
  /** What `limit` asked for. */
  | { readonly event: 'overdue'; readonly group: number }
  /** All of a group have started. */
  | { readonly event: 'started'; readonly group: number }
  /** One has said that it's parked. `problem`: why none of its kind may be used. `retry`: others, that import less, may be. */
  | {
      readonly event: 'parked';
      readonly group: number;
      readonly localRank: number;
      readonly problem?: string;
      readonly retry?: boolean;
    }
  /** One has ended, or the group couldn't be started. */
  | { readonly event: 'lost'; readonly group: number; readonly reason: string }
  /** The group can't even be asked for, nor will another. */
  | { readonly event: 'unable'; readonly group: number; readonly reason: string }
  /** There's no room for them: those that there are go, and none is made. */
  | { readonly event: 'hold'; readonly reason: string }
  /** There is again: what was due meanwhile is told once more. */
  | { readonly event: 'release' }
  /** A round starts; `unfit`: why these aren't for it, be they parked or not. */
  | { readonly event: 'take'; readonly unfit?: string }
  /** No round follows any more. */
  | { readonly event: 'close' };

export type StandbyAction =
  | { readonly do: 'arm'; readonly round: number; readonly afterMs: number }
  | { readonly do: 'limit'; readonly group: number; readonly afterMs: number }
  /** One interpreter that parks, and runs nothing. */
  | { readonly do: 'prove'; readonly group: number }
  /** For a round like the one that runs, or is awaited. */
  | { readonly do: 'make'; readonly group: number }
  | { readonly do: 'discard'; readonly group: number }
  /** They become the round's workers, those that import still as soon as they're parked. */
  | { readonly do: 'take-over'; readonly group: number }
  | { readonly do: 'tell-parked'; readonly group: number }
  | { readonly do: 'tell-trouble'; readonly reason: string };

export type StandbyStep = readonly [StandbyState, readonly StandbyAction[]];

/** Groups of standbys bear numbers from here on. */
const firstGroup = 2 ** 40;

/** @param policy absent: none are wanted */
export function initialStandbys(policy: StandbyPolicy | undefined): StandbyState {
  if (policy === undefined) return { phase: 'off' };
  const awaited = policy.prestarts ? ({ round: 'awaited' } as const) : {};
  return {
    phase: 'none',
    policy,
    ...awaited,
    isProven: false,
    lost: 0,
    isHeld: false,
    next: firstGroup,
  };
}

export function standbyStep(state: StandbyState, happening: StandbyHappening): StandbyStep {
  if (state.phase === 'off') return [state, []];
  switch (happening.event) {
    case 'round-runs': {
      const { round, isLast } = happening;
      if (isLast) return close(state);
      const { afterMs } = state.policy;
      const arm = state.phase === 'none' ? [{ do: 'arm', round, afterMs } as const] : [];
      return [{ ...state, round }, arm];
    }
    case 'round-over': {
      const { round: _, ...others } = state;
      return [others, []];
    }
    case 'prestart': {
      const isFirst = state.round === 'awaited' && state.next === firstGroup;
      return isFirst && state.phase === 'none' && !state.isHeld ? make(state) : [state, []];
    }
    case 'due':
      if (happening.round !== state.round || state.isHeld) return [state, []];
      return state.phase === 'none' ? make(state) : [state, []];
    case 'hold':
      return onHold(state, happening.reason);
    case 'release':
      return [{ ...state, isHeld: false }, []];
    case 'overdue':
      return onOverdue(state, happening.group);
    case 'started':
      if (state.phase !== 'importing' || state.group !== happening.group) return [state, []];
      return [{ ...state, hasStarted: true }, []];
    case 'parked':
      return onParked(state, happening);
    case 'lost':
      return onLost(state, happening);
    case 'unable':
      return groupOf(state) === happening.group ? giveUp(state, happening.reason) : [state, []];
    case 'take':
      return onTake(state, happening.unfit);
    case 'close':
      return close(state);
    default:
      return unreachable(happening);
  }
}

type Open = Exclude<StandbyState, { phase: 'off' }>;
type Of<E extends StandbyHappening['event']> = Extract<StandbyHappening, { event: E }>;

function groupOf(state: Open): number | undefined {
  return state.phase === 'none' ? undefined : state.group;
}

function isUnderWay(state: Open, group: number): boolean {
  return (state.phase === 'proving' || state.phase === 'importing') && state.group === group;
}

function none(state: Open): Extract<Open, { phase: 'none' }> {
  const { policy, round, isProven, lost, isHeld, next } = state;
  const runs = round === undefined ? {} : { round };
  return { phase: 'none', policy, ...runs, isProven, lost, isHeld, next };
}

function make(state: Extract<Open, { phase: 'none' }>): StandbyStep {
  const { round, policy, next: group } = state;
  if (round === undefined) return [state, []];
  const limit = { do: 'limit', group, afterMs: policy.parkMs } as const;
  const common = { ...state, group, next: group + 1 };
  if (!state.isProven) return [{ ...common, phase: 'proving' }, [{ do: 'prove', group }, limit]];
  return [
    { ...common, phase: 'importing', hasStarted: false, parked: [] },
    [{ do: 'make', group }, limit],
  ];
}

function onParked(state: Open, happening: Of<'parked'>): StandbyStep {
  const { group, localRank, problem, retry } = happening;
  if (!isUnderWay(state, group)) return [state, []];
  if (problem !== undefined)
    return retry ? onLost(state, { group, reason: problem }) : giveUp(state, problem);
  if (state.phase === 'proving') {
    const [after, actions] = make({ ...none(state), isProven: true });
    return [after, [{ do: 'discard', group }, ...actions]];
  }
  if (state.phase !== 'importing' || state.parked.includes(localRank)) return [state, []];
  const parked = [...state.parked, localRank];
  if (parked.length < state.policy.count) return [{ ...state, parked }, []];
  const { parked: _, ...others } = state;
  return [{ ...others, phase: 'parked' }, [{ do: 'tell-parked', group }]];
}

function onOverdue(state: Open, group: number): StandbyStep {
  if (!isUnderWay(state, group)) return [state, []];
  const reason = `not ready after ${state.policy.parkMs / 1000} s`;
  // Before the first round nodes may be awaited for longer than that, and what is slow then needn't be later on.
  const isFirst = state.phase === 'importing' && state.round === 'awaited';
  return isFirst ? onLost(state, { group, reason }) : giveUp(state, reason);
}

function onLost(state: Open, { group, reason }: Omit<Of<'lost'>, 'event'>): StandbyStep {
  if (groupOf(state) !== group) return [state, []];
  // The proof fails where something is between us and the interpreter: the next one would, too.
  if (state.phase === 'proving') return giveUp(state, `its interpreter doesn't wait: ${reason}`);
  const lost = state.lost + 1;
  if (lost >= state.policy.maxLost) return giveUp(state, reason);
  const after = { ...none(state), lost };
  const { round, policy } = after;
  // Those of the first round aren't made again before it: when it starts it's cold.
  const arm =
    typeof round === 'number' ? [{ do: 'arm', round, afterMs: policy.afterMs } as const] : [];
  return [after, [{ do: 'discard', group }, { do: 'tell-trouble', reason }, ...arm]];
}

function onHold(state: Open, reason: string): StandbyStep {
  const group = groupOf(state);
  const discard = group === undefined ? [] : [{ do: 'discard', group } as const];
  const told = { do: 'tell-trouble', reason: `${reason}; others are made later` } as const;
  return [{ ...none(state), isHeld: true }, [...discard, told]];
}

function onTake(state: Open, unfit: string | undefined): StandbyStep {
  const { round: _, ...after } = none(state);
  if (state.phase === 'none') return [after, []];
  const { group } = state;
  if (!mayBeTaken(state)) return [after, [{ do: 'discard', group }]];
  if (unfit !== undefined) {
    const told = { do: 'tell-trouble', reason: unfit } as const;
    return [after, [{ do: 'discard', group }, told]];
  }
  return [{ ...after, lost: 0 }, [{ do: 'take-over', group }]];
}

/**
 * Whether a round that starts may take these over. The first one has those, too, that import still: it would only begin
 * with the same imports. Once they're known to have started, since how that went isn't to be taken for the round's own start.
 * Later ones are for rounds that ran for a while: beside one that ended that soon, they've hardly begun.
 */
export function mayBeTaken(state: StandbyState): boolean {
  if (state.phase === 'parked') return true;
  return state.phase === 'importing' && state.round === 'awaited' && state.hasStarted;
}

function giveUp(state: Open, reason: string): StandbyStep {
  const [after, actions] = close(state);
  return [after, [...actions, { do: 'tell-trouble', reason }]];
}

function close(state: Open): StandbyStep {
  const group = groupOf(state);
  return [{ phase: 'off' }, group === undefined ? [] : [{ do: 'discard', group }]];
}
