/**
 * What a pickle of PyTorch's rendezvous may hold, as plain data: no name in it is looked up, and nothing is run.
 *
 * @source pytorch v1.13.1 and v2.13.0, torch/distributed/elastic/rendezvous/dynamic_rendezvous.py: `_RendezvousState` and
 *   `_NodeDesc`, written by `pickle.dumps` in `_BackendRendezvousStateHolder.sync`
 */
export type Value =
  | null
  | boolean
  | number
  /** Beyond what a number holds exactly. */
  | bigint
  | string
  | Buffer
  | Tuple
  | Dict
  | ValueSet
  | Time
  | Instance;

export interface Tuple {
  readonly is: 'tuple';
  readonly items: readonly Value[];
}

/** A dict, in its order. A key may come twice: Python takes the later one. */
export interface Dict {
  readonly is: 'dict';
  readonly entries: readonly (readonly [key: Value, value: Value])[];
}

export interface ValueSet {
  readonly is: 'set';
  readonly items: readonly Value[];
}

/** A `datetime`, by the bytes that Python has for it: to the microsecond, in UTC. */
export interface Time {
  readonly is: 'time';
  readonly fields: Buffer;
  /** Whether it says that it's UTC: PyTorch 2.6 and later do. */
  readonly isAware: boolean;
}

export type Attributes = ReadonlyMap<string, Value>;

/** An object of one of PyTorch's two classes. */
export interface Instance {
  readonly is: 'instance';
  readonly of: ClassName;
  readonly attributes: Attributes;
}

export type ClassName = 'state' | 'node';

/** Where PyTorch has both classes, from 1.9 to 2.14. */
export const stateModule = 'torch.distributed.elastic.rendezvous.dynamic_rendezvous';

/** Each global name that a pickle may have, by what it stands for. */
export const globalNames = {
  state: [stateModule, '_RendezvousState'],
  node: [stateModule, '_NodeDesc'],
  datetime: ['datetime', 'datetime'],
  timezone: ['datetime', 'timezone'],
  timedelta: ['datetime', 'timedelta'],
} as const;

export type GlobalName = keyof typeof globalNames;

/** Bounds that keep a hostile pickle from taking this agent's memory or time. A job of 50,000 nodes stays below them. */
export interface Limits {
  /** Of a pickle, and of what it would be without references. */
  readonly bytes: number;
  /** Values that it makes, each of which costs memory. */
  readonly values: number;
  /** Values that it remembers. */
  readonly memo: number;
}

export const limits: Limits = { bytes: 16 * 2 ** 20, values: 1_000_000, memo: 500_000 };

/** How many values may be in each other. PyTorch's own are four deep. */
export const mostDepth = 16;

/** The bytes are no state of PyTorch's rendezvous, or of no release that's known. */
export class MalformedState extends Error {
  override readonly name = 'MalformedState';
}
