import type { Compare, Entry, Revision } from '../../coordination/coordination.js';
import type { FailReason, WorkerFailure } from '../../events.js';
import type { Ledger } from '../../failures/policy.js';
import type { FailureReport, Place } from '../rendezvous.js';
import type { Strikes } from './strikes.js';

/**
 * What the agents of a job share: the table of a coordination engine below one prefix, a JSON text for each key.
 *
 *     settings                    by the first agent, for good
 *     leader                      by whoever leads, bound to its lease
 *     members/AGENT               by each agent, bound to its lease
 *     round                       by the leader; where another server has taken its place, by whoever was in it
 *     stores/ROUND                by the agent of group rank 0, which serves it
 *     failures/ROUND/AGENT        by each agent whose workers failed: at once, and once more with its report
 *     done/ROUND/AGENT            by each agent whose workers have all succeeded
 *     ends/ROUND/AGENT            by each agent, once the job has failed: what became of its workers
 *     verdict                     by the leader, for good
 */

/** What all agents of a job have been started with; a mismatch is refused. */
export interface Settings {
  /** Of this table: `tableVersion`. */
  readonly version: number;
  readonly minNodes: number;
  readonly maxNodes: number;
  /** Rounds have a multiple of so many nodes. */
  readonly nodesPerUnit: number;
  /** The numbers of nodes that a round may have; empty: any between. */
  readonly nodesSet: readonly number[];
  /** Rounds have a multiple of so many nodes of each group. */
  readonly groupSize: number;
  /** After which whoever isn't heard of any more has killed its workers. */
  readonly leaseMs: number;
  /** How many nodes may wait beyond `maxNodes`. Absent: any number. */
  readonly spares?: number;
}

/** They're written in one order of their fields, by one version, or their first field differs. */
export function isSameSettings(a: Settings | undefined, b: Settings): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Grows with each change that agents of another version wouldn't understand. */
export const tableVersion = 2;

/** One agent, as the others know it. */
export interface Member {
  /** Of this start of an agent: one that comes back, or a second one on its node, has another. */
  readonly agent: string;
  /** Of its lease; one that had to get another has a higher one, and nothing that it was in counts any more. */
  readonly incarnation: number;
  /** Of the node: an agent that comes back has the same. */
  readonly node: string;
  readonly localWorldSize: number;
  /** Of nodes that are near each other. */
  readonly group?: string;
  /** Its place in the first order, where the user or the scheduler gave one. */
  readonly hint?: number;
  /** Where others try whether they can connect to its node. */
  readonly door?: StoreAddress;
  readonly state: MemberState;
  /** What it knows of the last round, where that's lost with its table. */
  readonly past?: Past;
}

/** What of a round lasts. */
export interface Past {
  readonly number: number;
  /** Nodes that it had. */
  readonly nodes: number;
  readonly ledger: Ledger;
  readonly strikes?: Strikes;
  readonly clock: string;
}

/**
 * What an agent is about. `round` is the last one that it knows of: for one that waits, the one that it must not be
 * waited for in any more.
 */
export type MemberState =
  /** No worker of it runs, and it's ready for a round after this one; -1: for any. */
  | { readonly is: 'waiting'; readonly round: number }
  /** It has been told this round, and is in it or on its way out of it. */
  | { readonly is: 'running'; readonly round: number }
  /** It's about to go; its workers may run for a while still. */
  | { readonly is: 'leaving'; readonly round: number };

/** A node's part in a round: its place is its index. */
export interface Participant {
  readonly agent: string;
  readonly incarnation: number;
  readonly node: string;
  readonly localWorldSize: number;
  readonly group?: string;
}

export interface SharedRound {
  /** It only grows. */
  readonly number: number;
  readonly restartCount: number;
  readonly participants: readonly Participant[];
  /** Absent: it's live. */
  readonly ending?: Ending;
  /** It's of a server before this one, and was brought by who was in it: others may come still that are in it, too. */
  readonly isRestored?: true;
  /** What failures have spent, this round's own included once it's ending. */
  readonly ledger: Ledger;
  /** Nodes whose workers have failed; absent: none has. */
  readonly strikes?: Strikes;
  /** The agent whose clock its times are of. */
  readonly clock: string;
}

/** Why a round is over before its end, and what follows. */
export interface Ending {
  readonly because: 'failed' | 'lost' | 'left' | 'growth';
  /** Agents that it is because of. */
  readonly agents: readonly string[];
  /** A pause before the next round. */
  readonly delayMs: number;
  /** The failure rule that has decided. */
  readonly rule?: string;
  /** Restarts that the window still allows at this moment. */
  readonly windowLeft?: number;
}

/** Where a round's workers meet. */
export interface StoreAddress {
  /** As workers of any node reach it. */
  readonly host: string;
  readonly port: number;
}

/** Workers of an agent have failed. The others are to stop theirs, whatever the report will tell. */
export interface Failure {
  readonly agent: string;
  readonly round: number;
  /** Absent as long as the agent is stopping the others of its workers. */
  readonly report?: FailureReport;
}

/** The job's end. */
export type JobVerdict =
  | { readonly is: 'succeeded' }
  | {
      readonly is: 'failed';
      readonly because: FailReason;
      readonly rule?: string;
      readonly round: number;
      /** Whose failure decided. */
      readonly agent: string;
    };

/** A value with the change that it's of. */
export interface Kept<T> {
  readonly value: T;
  readonly created: Revision;
  readonly modified: Revision;
}

/** All of it, at one revision. */
export interface View {
  readonly revision: Revision;
  /** Names the table, where another one may take its place. */
  readonly table?: string;
  readonly settings?: Kept<Settings>;
  readonly leader?: Kept<{ readonly agent: string }>;
  /** By agent. */
  readonly members: ReadonlyMap<string, Kept<Member>>;
  readonly round?: Kept<SharedRound>;
  /** By round. */
  readonly stores: ReadonlyMap<string, Kept<StoreAddress>>;
  /** By `ROUND/AGENT`. */
  readonly failures: ReadonlyMap<string, Kept<Failure>>;
  /** By `ROUND/AGENT`. */
  readonly done: ReadonlyMap<string, Kept<true>>;
  /** By `ROUND/AGENT`. */
  readonly ends: ReadonlyMap<string, Kept<readonly WorkerFailure[]>>;
  readonly verdict?: Kept<JobVerdict>;
}

export const emptyView: View = {
  revision: 0,
  members: new Map(),
  stores: new Map(),
  failures: new Map(),
  done: new Map(),
  ends: new Map(),
};

export const keys = {
  settings: 'settings',
  leader: 'leader',
  round: 'round',
  verdict: 'verdict',
  member: (agent: string) => `members/${agent}`,
  store: (round: number) => `stores/${round}`,
  failure: (round: number, agent: string) => `failures/${round}/${agent}`,
  done: (round: number, agent: string) => `done/${round}/${agent}`,
  ends: (round: number, agent: string) => `ends/${round}/${agent}`,
} as const;

/** A view that changes are made to: its maps are copied once, however many changes there are. */
export interface Draft {
  /** Sets an entry. Keys that aren't known are of a later version, and ignored. @throws SyntaxError: its value is no JSON */
  put(entry: Entry): void;
  delete(key: string): void;
  view(revision?: Revision): View;
}

type MapName = 'members' | 'stores' | 'failures' | 'done' | 'ends';

export function draftOf(before: View, prefix: string): Draft {
  let view = before;
  const copies = new Map<MapName, Map<string, unknown>>();

  /** Many agents write in a moment: a copy for each change would take as long as all that has been written, squared. */
  function copyOf(name: MapName): Map<string, unknown> {
    const copy = copies.get(name) ?? new Map<string, unknown>(view[name]);
    if (!copies.has(name)) {
      copies.set(name, copy);
      view = { ...view, [name]: copy };
    }
    return copy;
  }

  function partsOf(key: string): readonly [string, string] {
    const [name = '', ...rest] = key.slice(prefix.length).split('/');
    return [name, rest.join('/')];
  }

  return {
    put({ key, value, created, modified }) {
      const [name, rest] = partsOf(key);
      if (!isMap(name) && !isSingle(name)) return;
      const kept = { value: JSON.parse(value), created, modified };
      if (isMap(name)) copyOf(name).set(rest, kept);
      else view = { ...view, [name]: kept };
    },
    delete(key) {
      const [name, rest] = partsOf(key);
      if (isMap(name)) {
        copyOf(name).delete(rest);
        return;
      }
      const { [name as 'leader']: _, ...others } = view;
      view = others;
    },
    view(revision = view.revision) {
      copies.clear(); // whoever has it may keep it
      return { ...view, revision };
    },
  };
}

function isSingle(key: string): boolean {
  return ['settings', 'leader', 'round', 'verdict'].includes(key);
}

function isMap(key: string): key is MapName {
  return ['members', 'stores', 'failures', 'done', 'ends'].includes(key);
}

export function pastOf({ number, participants, ledger, strikes, clock }: SharedRound): Past {
  const nodes = participants.length;
  return { number, nodes, ledger, ...(strikes === undefined ? {} : { strikes }), clock };
}

/** The latest of the round that a table has and those that its members know; of one round whichever cost most. */
export function latestPast({ members, round }: View): Omit<Past, 'nodes'> | undefined {
  const known = [...members.values()].flatMap(({ value: { past } }) => past ?? []);
  const all = [...(round === undefined ? [] : [round.value]), ...known];
  return all.sort((a, b) => (isNewer(a, b) ? -1 : Number(isNewer(b, a))))[0];
}

export function isNewer(
  one: Pick<Past, 'number' | 'ledger'>,
  other: Pick<Past, 'number' | 'ledger'>,
): boolean {
  return (
    one.number > other.number ||
    (one.number === other.number && one.ledger.spent > other.ledger.spent)
  );
}

/** That a key is still what it was seen as. */
export function unchanged(key: string, kept: Kept<unknown> | undefined): Compare {
  return kept === undefined ? { key, is: 'absent' } : { key, modified: kept.modified };
}

/** Failures of one round, in the order in which they came. */
export function failuresOf(view: View, round: number): readonly Failure[] {
  return [...view.failures]
    .filter(([key]) => key.startsWith(`${round}/`))
    .sort(([, a], [, b]) => a.created - b.created)
    .map(([, { value }]) => value);
}

/** Whether what's written tells all of a failure. */
export function isTold({ report }: Failure, written: Failure): boolean {
  return report === undefined || written.report !== undefined;
}

/** Whether an agent's workers of a round have all succeeded. */
export function isDone(view: View, round: number, agent: string): boolean {
  return view.done.has(`${round}/${agent}`);
}

/** Where a participant's workers stand among all of its round. */
export function placeOf({ participants }: SharedRound, groupRank: number): Place {
  const sizes = participants.map(each => each.localWorldSize);
  const sum = (some: readonly number[]): number => some.reduce((all, each) => all + each, 0);
  return {
    groupRank,
    groupWorldSize: participants.length,
    firstRank: sum(sizes.slice(0, groupRank)),
    worldSize: sum(sizes),
  };
}
