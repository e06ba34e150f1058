import { isStale, towardsRound } from './decide.js';
import {
  closed,
  completed,
  type Mover,
  type StockSettings,
  withHeartbeat,
  withoutNodes,
  withParticipant,
  withSpare,
  withWaiting,
} from './moves.js';
import { deadOf, looked, type Silence } from './silence.js';
import { emptyState, type Generation, nameOf, type StockNode, type StockState } from './state.js';
import { MalformedState } from './values.js';

/** One agent among those of PyTorch, as a pure function: what it writes into the state that they share, and what it's told. */
export interface ParticipantState {
  readonly node: StockNode;
  readonly settings: StockSettings;
  /** The release of the others, once it's known. */
  readonly generation: Generation | undefined;
  readonly wish: Wish;
  readonly silence: Silence;
  /** When it looked at the state last, by CLOCK_MONOTONIC. */
  readonly lookedAtMs: number | undefined;
  /** What it has seen last, without nodes that are dead. */
  readonly view: StockState | undefined;
}

type Wish =
  | { readonly is: 'nothing' }
  /** `leaves`: the round that it was in comes first. */
  | { readonly is: 'round'; readonly lateAtMs: number; readonly leaves: boolean }
  | InRound
  /** To be in no list. */
  | { readonly is: 'gone' }
  /** The job's end, for all. */
  | { readonly is: 'end' };

interface InRound {
  readonly is: 'in';
  readonly round: number;
  readonly nodes: readonly StockNode[];
  /** Nothing more is told of it: its heartbeats go on. */
  readonly isOver: boolean;
  /** The job's end has been seen, and told. */
  readonly isClosed: boolean;
  /** Nodes that weren't there at the last look, and since when: they may be on their way into the list of those who wait. */
  readonly missing: ReadonlyMap<string, number>;
}

/** A node has left that has been in no list for so long. One that fails leaves the round, and waits for the next one at once. */
const leftAfterMs = 1_000;

export type Happening =
  | { readonly event: 'join' }
  /** This node wants no other round; it stays in the one that it's in, until its workers are gone. */
  | { readonly event: 'leave' }
  /** Its workers are gone: it leaves all lists. */
  | { readonly event: 'depart' }
  /** The job is over, as this node says to all. */
  | { readonly event: 'end' }
  /** Nothing more is to be told of the round that it's in; its heartbeats go on. */
  | { readonly event: 'over' }
  /** The state at the store. @param stored absent: nobody has written any */
  | { readonly event: 'read'; readonly stored: StockState | undefined };

export interface Now {
  /** By CLOCK_MONOTONIC. */
  readonly nowMs: number;
  /** Since 1970. */
  readonly wallMs: number;
}

export type Told =
  | {
      readonly tell: 'round';
      readonly round: number;
      readonly rank: number;
      /** By their ranks. */
      readonly nodes: readonly StockNode[];
    }
  | {
      readonly tell: 'broken';
      readonly round: number;
      readonly because: Because;
      readonly nodes: readonly string[];
    }
  /** The job is over while this node is in a round of it. */
  | { readonly tell: 'closed'; readonly round: number }
  /** There's no round to come. `late`: not in time. `released`: this node was a spare. */
  | { readonly tell: 'no-round'; readonly because: 'closed' | 'released' | 'late' }
  /** What was wished last has been done: to be gone, or the end. */
  | { readonly tell: 'done' };

/** Why a round is over: nodes have failed, or are lost; have come; or have left. */
export type Because = 'failed' | 'lost' | 'growth' | 'left';

export interface After {
  readonly state: ParticipantState;
  /** To be written in place of what was read; what is there then is the next `read`. */
  readonly write?: StockState;
  readonly told: readonly Told[];
}

export function participantOf(
  node: StockNode,
  settings: StockSettings,
  generation?: Generation,
): ParticipantState {
  const nothing = { silence: new Map(), lookedAtMs: undefined, view: undefined };
  return { node, settings, generation, wish: { is: 'nothing' }, ...nothing };
}

/**
 * What follows from an order, or from a look at the state.
 *
 * @throws MalformedState where the state is of another release than before
 */
export function step(state: ParticipantState, happening: Happening, now: Now): After {
  const { wish, settings } = state;
  const wishing = (next: Wish): After => ({ state: { ...state, wish: next }, told: [] });
  switch (happening.event) {
    case 'join':
      return wishing({
        is: 'round',
        lateAtMs: now.nowMs + settings.joinTimeoutMs,
        leaves: true,
      });
    case 'leave':
      if (wish.is === 'round') return wishing({ is: 'gone' });
      return wish.is === 'in' ? wishing({ ...wish, isOver: true }) : wishing(wish);
    case 'depart':
      return wishing({ is: 'gone' });
    case 'end':
      return wishing({ is: 'end' });
    case 'over':
      return wish.is === 'in' ? wishing({ ...wish, isOver: true }) : wishing(wish);
    case 'read':
      return onRead(state, happening.stored, now);
  }
}

function onRead(before: ParticipantState, stored: StockState | undefined, now: Now): After {
  const { settings, node } = before;
  const generation = generationOf(before.generation, stored);
  // Whoever is first says of which release the others are.
  if (generation === undefined) return unseen(before, stored, now);
  const read = stored ?? emptyState(generation);
  const silence = looked(before.silence, read, now.nowMs - (before.lookedAtMs ?? now.nowMs));
  const { wallMs } = now;
  const dead = deadOf(silence, { wallMs, deadAfterMs: settings.deadAfterMs });
  const view = withoutNodes(read, dead, settings);
  const state = { ...before, generation, silence, lookedAtMs: now.nowMs, view };
  return follow(state, view, { node, generation, settings, wallMs }, before.silence, now.nowMs);
}

/** Nothing can be written before others have: this node is in no list. */
function unseen(state: ParticipantState, stored: StockState | undefined, now: Now): After {
  const { wish } = state;
  const ending = (told: Told): After => ({
    state: { ...state, wish: { is: 'nothing' } },
    told: [told],
  });
  if (wish.is === 'gone' || wish.is === 'end') return ending({ tell: 'done' });
  if (wish.is !== 'round') return { state, told: [] };
  if (stored?.isClosed === true) return ending({ tell: 'no-round', because: 'closed' });
  if (now.nowMs >= wish.lateAtMs) return ending({ tell: 'no-round', because: 'late' });
  return { state, told: [] };
}

/** @throws MalformedState */
function generationOf(
  known: Generation | undefined,
  stored: StockState | undefined,
): Generation | undefined {
  if (stored === undefined) return known;
  const { generations } = stored;
  if (known === undefined) return generations.length === 1 ? generations[0] : undefined;
  if (generations.includes(known)) return known;
  const theirs = generations.join(' or ');
  throw new MalformedState(
    `agents of PyTorch ${theirs} have written it, and this one is with ${known}`,
  );
}

function follow(
  state: ParticipantState,
  view: StockState,
  mover: Mover,
  before: Silence,
  nowMs: number,
): After {
  const { wish } = state;
  const name = nameOf(state.node);
  const leave = (): StockState => withoutNodes(view, [name], state.settings);
  const done: After = { state: { ...state, wish: { is: 'nothing' } }, told: [{ tell: 'done' }] };
  switch (wish.is) {
    case 'nothing':
      return { state, told: [] };
    case 'gone':
      return isListed(view, name) ? { state, write: leave(), told: [] } : done;
    case 'end':
      return view.isClosed ? done : { state, write: closed(view), told: [] };
    case 'in':
      return stay(state, wish, view, mover, before, nowMs);
    case 'round':
      if (wish.leaves && view.participants.has(name)) return { state, write: leave(), told: [] };
      return approach({ ...state, wish: { ...wish, leaves: false } }, view, mover, nowMs);
  }
}

function isListed(view: StockState, name: string): boolean {
  const { participants, waiting, spares, heartbeats } = view;
  return [participants, waiting, spares, heartbeats].some(list => list.has(name));
}

/** One move towards a round. */
function approach(state: ParticipantState, view: StockState, mover: Mover, nowMs: number): After {
  const { wish, node, settings } = state;
  if (wish.is !== 'round') return { state, told: [] };
  const name = nameOf(node);
  const writing = (write: StockState): After => ({ state, write, told: [] });
  const ending = (because: 'closed' | 'released' | 'late'): After => ({
    state: { ...state, wish: { is: 'nothing' } },
    told: [{ tell: 'no-round', because }],
  });
  const move = towardsRound(view, mover, nowMs >= wish.lateAtMs);
  switch (move) {
    case 'in': {
      const { round } = view;
      const nodes = rosterOf(view);
      const rank = view.participants.get(name)?.rank ?? 0;
      const notYet = { isOver: false, isClosed: false, missing: new Map() };
      const next: Wish = { is: 'in', round, nodes, ...notYet };
      return { state: { ...state, wish: next }, told: [{ tell: 'round', round, rank, nodes }] };
    }
    case 'closed':
    case 'released':
    case 'late':
      return ending(move);
    case 'participate':
      return writing(withParticipant(view, mover));
    case 'wait':
      return writing(withWaiting(view, mover));
    case 'stand-by':
      return writing(withSpare(view, mover));
    case 'complete':
      return writing(completed(view));
    case 'leave':
      return writing(withoutNodes(view, [name], settings));
    case 'give-up-standing-by': {
      const next = { ...wish, lateAtMs: nowMs + settings.joinTimeoutMs };
      const write = withoutNodes(view, [name], settings);
      return { state: { ...state, wish: next }, write, told: [] };
    }
    case 'keep-alive':
      return writing(withHeartbeat(view, mover));
    case 'look-again':
      return { state, told: [] };
  }
}

/** @throws MalformedState where ranks are none */
function rosterOf({ participants }: StockState): readonly StockNode[] {
  const nodes: StockNode[] = [];
  for (const { node, rank } of participants.values()) nodes[rank] = node;
  if (nodes.length !== participants.size || Object.keys(nodes).length !== nodes.length)
    throw new MalformedState(`its ${participants.size} nodes have no ranks from 0 on`);
  return nodes;
}

/** A round goes on, or is over. */
function stay(
  state: ParticipantState,
  wish: InRound,
  view: StockState,
  mover: Mover,
  before: Silence,
  nowMs: number,
): After {
  const write = isStale(view, mover) ? { write: withHeartbeat(view, mover) } : {};
  if (wish.isOver) return { state, ...write, told: [] };
  const missing = missingOf(wish, view, nowMs);
  const known: InRound = { ...wish, missing, isClosed: view.isClosed };
  if (view.isClosed && !wish.isClosed) {
    const told: Told = { tell: 'closed', round: wish.round };
    return { state: { ...state, wish: known }, ...write, told: [told] };
  }
  const broken = breakOf(state, { ...wish, missing }, view, before, nowMs);
  if (broken === undefined) return { state: { ...state, wish: known }, ...write, told: [] };
  const told: Told = { tell: 'broken', round: wish.round, ...broken };
  return { state: { ...state, wish: { ...known, isOver: true } }, ...write, told: [told] };
}

function missingOf(
  { nodes, missing }: InRound,
  view: StockState,
  nowMs: number,
): InRound['missing'] {
  const gone = nodes.map(nameOf).filter(each => !view.participants.has(each));
  return new Map(gone.map(each => [each, missing.get(each) ?? nowMs]));
}

function breakOf(
  { node, settings }: ParticipantState,
  wish: InRound,
  view: StockState,
  before: Silence,
  nowMs: number,
): { readonly because: Because; readonly nodes: readonly string[] } | undefined {
  const isAnother = view.round !== wish.round || !view.isComplete;
  // The others have given this node up, or have gone on without it.
  if (isAnother || wish.missing.has(nameOf(node))) return { because: 'lost', nodes: [] };
  const waiting = [...view.waiting.keys()];
  if (waiting.length > 0) {
    const known = wish.nodes.map(nameOf);
    const isNew = waiting.some(each => !known.includes(each));
    return { because: isNew ? 'growth' : 'failed', nodes: waiting };
  }
  const wasSilent = (each: string): boolean =>
    (before.get(each)?.forMs ?? 0) >= settings.deadAfterMs / 2;
  const missing = [...wish.missing.keys()];
  const lost = missing.filter(wasSilent);
  if (lost.length > 0) return { because: 'lost', nodes: lost };
  const left = missing.filter(each => nowMs - (wish.missing.get(each) ?? nowMs) >= leftAfterMs);
  return left.length > 0 ? { because: 'left', nodes: left } : undefined;
}

/** Between two looks at the state: towards a round, and in one. PyTorch's agents look once a second. */
const pausesMs = { round: 500, in: 1_000 } as const;

/** When it looks at the state again, where nothing changes before; without `pauseMs`: not at all. */
export function pauseOf({ wish }: ParticipantState): { readonly pauseMs?: number } {
  switch (wish.is) {
    case 'nothing':
      return {};
    case 'in':
      return { pauseMs: pausesMs.in };
    default:
      return { pauseMs: pausesMs.round };
  }
}
