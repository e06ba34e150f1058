import { pickle } from './pickle.js';
import { unpickle } from './unpickle.js';
import {
  type Attributes,
  type Instance,
  limits,
  MalformedState,
  type Time,
  type Value,
} from './values.js';

/**
 * The state that PyTorch's agents share at their store: one value, read and replaced as a whole.
 *
 * @source pytorch v1.13.1 and v2.13.0, torch/distributed/elastic/rendezvous/dynamic_rendezvous.py and
 *   c10d_rendezvous_backend.py
 */
export interface StockState {
  /** Releases that may have written it: more than one, where it holds too little to say which. Never none. */
  readonly generations: readonly Generation[];
  readonly round: number;
  /** Whether the round has its nodes, and their ranks. */
  readonly isComplete: boolean;
  /** When a round with enough nodes is complete without more. */
  readonly deadline: Time | undefined;
  /** For ever. */
  readonly isClosed: boolean;
  /** By their names, as the others are. */
  readonly participants: ReadonlyMap<string, Participant>;
  /** Nodes that bring about another round. */
  readonly waiting: ReadonlyMap<string, StockNode>;
  /** Nodes that wait for a vacancy; always empty before 2.3. */
  readonly spares: ReadonlyMap<string, StockNode>;
  readonly heartbeats: ReadonlyMap<string, Heartbeat>;
  /** Attributes that no release is known to have: they're kept. */
  readonly others: Attributes;
}

/** The first release that writes a state so; no other reads it. */
export type Generation = '1.13' | '2.0' | '2.3' | '2.6';

export interface StockNode {
  readonly address: string;
  readonly pid: number;
  /** Which of the process's. */
  readonly localId: number;
  readonly others: Attributes;
}

export interface Participant {
  readonly node: StockNode;
  /** 0 until the round is complete. */
  readonly rank: number;
}

export interface Heartbeat {
  readonly node: StockNode;
  readonly at: Time;
}

interface Shape {
  /** What a node's address is called. */
  readonly address: 'fqdn' | 'addr';
  readonly hasSpares: boolean;
  readonly isAware: boolean;
}

/** What tells them apart. 1.9 to 1.12 write as 1.13 does. @source pytorch PRs #117066 and, for times, issue #136140 */
const shapes: Readonly<Record<Generation, Shape>> = {
  '1.13': { address: 'fqdn', hasSpares: false, isAware: false },
  '2.0': { address: 'addr', hasSpares: false, isAware: false },
  '2.3': { address: 'addr', hasSpares: true, isAware: false },
  '2.6': { address: 'addr', hasSpares: true, isAware: true },
};

export const generations = Object.keys(shapes) as readonly Generation[]; // of the table above

const none: ReadonlyMap<string, never> = new Map<string, never>();

/** The state that a first node begins with. */
export function emptyState(generation: Generation): StockState {
  return {
    generations: [generation],
    round: 0,
    isComplete: false,
    deadline: undefined,
    isClosed: false,
    participants: none,
    waiting: none,
    spares: none,
    heartbeats: none,
    others: none,
  };
}

/** A node's name, which no other has: as PyTorch prints it. */
export function nameOf({ address, pid, localId }: StockNode): string {
  return `${address}_${pid}_${localId}`;
}

/** Whether times of a generation say that they are in UTC. */
export function isAware(generation: Generation): boolean {
  return shapes[generation].isAware;
}

/** Whether a generation has a list of spares. */
export function hasSpares(generation: Generation): boolean {
  return shapes[generation].hasSpares;
}

/** The text at a key that has no state yet. @source c10d_rendezvous_backend.py, _NULL_SENTINEL */
export const noState = 'Y2FuaW1hZGFt';

/** The key of a run's state. */
export function stateKey(runId: string): string {
  return `torch.rendezvous.${runId}`;
}

/**
 * Reads what is at the key: a pickle in base64.
 *
 * @returns undefined where there's no state yet
 * @throws MalformedState
 */
export function decodeState(text: Buffer): StockState | undefined {
  if (text.length > (limits.bytes / 3) * 4 + 4)
    throw new MalformedState(`it has ${text.length} bytes of base64, and no state has as many`);
  const base64 = text.toString('latin1');
  if (base64 === noState) return undefined;
  // Node.js would leave out what isn't base64.
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64))
    throw new MalformedState('it is not base64');
  return readState(unpickle(Buffer.from(base64, 'base64')));
}

/**
 * Writes it as agents of that release do.
 *
 * @throws MalformedState where others have written it so that those can't read it
 */
export function encodeState(state: StockState, generation: Generation): Buffer {
  if (!state.generations.includes(generation)) {
    const theirs = state.generations.join(' or ');
    throw new MalformedState(`it is of PyTorch ${theirs}, which ${generation} can't read`);
  }
  return Buffer.from(pickle(writeState(state, generation)).toString('base64'), 'latin1');
}

function writeState(state: StockState, generation: Generation): Instance {
  const { hasSpares, address } = shapes[generation];
  // Nodes that are one object become one in the pickle.
  const written = new Map<StockNode, Instance>();
  const nodeOf = (node: StockNode): Instance => {
    const before = written.get(node);
    if (before !== undefined) return before;
    const attributes = new Map<string, Value>([
      [address, node.address],
      ['pid', node.pid],
      ['local_id', node.localId],
      ...node.others,
    ]);
    const instance: Instance = { is: 'instance', of: 'node', attributes };
    written.set(node, instance);
    return instance;
  };
  const setOf = (nodes: ReadonlyMap<string, StockNode>): Value => {
    return { is: 'set', items: [...nodes.values()].map(nodeOf) };
  };
  const participants = [...state.participants.values()];
  const heartbeats = [...state.heartbeats.values()];
  const attributes = new Map<string, Value>([
    ['round', state.round],
    ['complete', state.isComplete],
    ['deadline', state.deadline ?? null],
    ['closed', state.isClosed],
    [
      'participants',
      { is: 'dict', entries: participants.map(({ node, rank }) => [nodeOf(node), rank]) },
    ],
    ['wait_list', setOf(state.waiting)],
    ...(hasSpares ? ([['redundancy_list', setOf(state.spares)]] as const) : []),
    [
      'last_heartbeats',
      { is: 'dict', entries: heartbeats.map(({ node, at }) => [nodeOf(node), at]) },
    ],
    ...state.others,
  ]);
  return { is: 'instance', of: 'state', attributes };
}

const known = [
  'round',
  'complete',
  'deadline',
  'closed',
  'participants',
  'wait_list',
  'redundancy_list',
  'last_heartbeats',
] as const;
type Known = (typeof known)[number];

function readState({ attributes }: Instance): StockState {
  const clues: Partial<Shape>[] = [{ hasSpares: attributes.has('redundancy_list') }];
  const read = readers(clues);
  const given = (name: Known): Value => {
    const value = attributes.get(name);
    if (value === undefined) throw new MalformedState(`it has no ${name}`);
    return value;
  };
  const deadline = given('deadline');
  const round = read.count('round', given('round'));
  const state = {
    round,
    isComplete: read.flag('complete', given('complete')),
    deadline: deadline === null ? undefined : read.time('deadline', deadline),
    isClosed: read.flag('closed', given('closed')),
    participants: read.byNode('participants', given('participants'), (node, rank) => ({
      node,
      rank: read.count('a rank', rank),
    })),
    waiting: read.nodes('wait_list', given('wait_list')),
    spares: attributes.has('redundancy_list')
      ? read.nodes('redundancy_list', given('redundancy_list'))
      : none,
    heartbeats: read.byNode('last_heartbeats', given('last_heartbeats'), (node, at) => ({
      node,
      at: read.time('a heartbeat', at),
    })),
    others: without(attributes, known),
  };
  return { generations: generationsOf(clues), ...state };
}

/** @param clues what has been seen of the state's shape, which grows */
function readers(clues: Partial<Shape>[]) {
  const seen = new Map<string, StockNode>();

  function node(what: string, value: Value): StockNode {
    if (!is(value, 'instance')) throw unlike(what, 'nodes');
    const { attributes } = value;
    const field = attributes.has('fqdn') ? 'fqdn' : 'addr';
    const address = attributes.get(field);
    if (typeof address !== 'string') throw unlike(`a node's ${field}`, 'text');
    clues.push({ address: field });
    const read = {
      address,
      pid: count("a node's pid", attributes.get('pid')),
      localId: count("a node's local_id", attributes.get('local_id')),
      others: without(attributes, [field, 'pid', 'local_id']),
    };
    // Equal ones become one, as far as nothing tells them apart.
    const before = seen.get(nameOf(read));
    if (before !== undefined && before.others.size + read.others.size === 0) return before;
    seen.set(nameOf(read), read);
    return read;
  }

  function time(what: string, value: Value): Time {
    if (!is(value, 'time')) throw unlike(what, 'a time');
    clues.push({ isAware: value.isAware });
    return value;
  }

  return {
    count,
    time,
    flag(what: string, value: Value): boolean {
      if (typeof value !== 'boolean') throw unlike(what, 'true or false');
      return value;
    },
    nodes(what: string, value: Value): ReadonlyMap<string, StockNode> {
      if (!is(value, 'set')) throw unlike(what, 'a set');
      const nodes = value.items.map(item => node(what, item));
      return new Map(nodes.map(each => [nameOf(each), each]));
    },
    byNode<T>(
      what: string,
      value: Value,
      read: (node: StockNode, value: Value) => T,
    ): ReadonlyMap<string, T> {
      if (!is(value, 'dict')) throw unlike(what, 'a dict');
      return new Map(
        value.entries.map(([key, item]) => {
          const owner = node(what, key);
          return [nameOf(owner), read(owner, item)];
        }),
      );
    },
  };
}

function count(what: string, value: Value | undefined): number {
  const isCount = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
  if (!isCount) throw unlike(what, 'a number from 0');
  return value;
}

function is<K extends 'set' | 'dict' | 'time' | 'instance'>(
  value: Value,
  kind: K,
): value is Extract<Value, { readonly is: K }> {
  return typeof value === 'object' && value !== null && 'is' in value && value.is === kind;
}

function unlike(what: string, expected: string): MalformedState {
  return new MalformedState(`${what} should be ${expected}, and isn't`);
}

function without(attributes: Attributes, names: readonly string[]): Attributes {
  return new Map([...attributes].filter(([name]) => !names.includes(name)));
}

function generationsOf(clues: readonly Partial<Shape>[]): readonly Generation[] {
  const possible = generations.filter(each => clues.every(clue => fits(shapes[each], clue)));
  if (possible.length === 0)
    throw new MalformedState('agents of different releases of PyTorch have written it');
  return possible;
}

function fits(shape: Shape, clue: Partial<Shape>): boolean {
  return (Object.keys(clue) as (keyof Shape)[]).every(key => clue[key] === shape[key]);
}
