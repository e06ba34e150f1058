import {
  type GlobalName,
  globalNames,
  type Instance,
  type Limits,
  MalformedState,
  mostDepth,
  type Value,
} from './values.js';

/** What the stack of `unpickle` has: values, and what values are made of. */
export interface Item {
  readonly held: Value | Part;
  /** How many values below it hold each other; 0 for what holds none. */
  depth: number;
  /** Bytes that it takes, written out. */
  weight: number;
  /** Whether it's finished, and may be referred to. */
  isWhole: boolean;
}

/** Not a value by itself. */
export type Part =
  | { readonly is: 'global'; readonly name: GlobalName }
  | { readonly is: 'utc' }
  | { readonly is: 'zero' };

export interface Machine {
  /** Where it reads. */
  at(): number;
  /** Bytes from there to the end. */
  left(): number;
  /** The next bytes as a number, the lowest byte first. */
  number(bytes: 1 | 2 | 4 | 8): number;
  bytes(length: number): Buffer;
  push(item: Item): void;
  pop(): Item;
  /** The topmost item, which stays. */
  top(): Item;
  mark(): void;
  /** All items down to the last mark, which goes, too. */
  popMarked(): Item[];
  remember(index?: number): void;
  recall(index: number): void;
  /** What the pickle holds. */
  end(): Instance;
}

/** The memory of `unpickle`: a stack, its marks, and what is remembered, within bounds. */
export function createMachine(pickle: Buffer, within: Limits): Machine {
  let at = 0;
  let values = 0;
  let weight = 0;
  const stack: Item[] = [];
  const marks: number[] = [];
  const memo = new Map<number, Item>();

  /** Items above the last mark. */
  const reachable = (): number => stack.length - (marks.at(-1) ?? 0);
  const take = (length: number): Buffer => {
    if (length > pickle.length - at) throw new MalformedState('the pickle ends too early');
    at += length;
    return pickle.subarray(at - length, at);
  };
  const count = (items: number, more: number): void => {
    values += items;
    weight += more;
    if (values > within.values) throw new MalformedState(`more than ${within.values} values`);
    if (weight > within.bytes)
      throw new MalformedState(`more than ${within.bytes} bytes, written out`);
  };
  const top = (): Item => {
    const item = stack.at(-1);
    if (item === undefined || reachable() === 0)
      throw new MalformedState('there is nothing to take');
    return item;
  };
  const checkDepth = (depth: number): void => {
    if (depth > mostDepth) throw new MalformedState(`more than ${mostDepth} deep`);
  };

  return {
    at: () => at,
    left: () => pickle.length - at,
    number(bytes) {
      const taken = take(bytes);
      return bytes === 8 ? Number(taken.readBigUInt64LE()) : taken.readUIntLE(0, bytes);
    },
    bytes: take,
    push(item) {
      checkDepth(item.depth);
      // What it's made of has been counted when that was pushed.
      count(1, item.depth === 0 ? item.weight : 0);
      stack.push(item);
    },
    pop() {
      const item = top();
      stack.pop();
      return item;
    },
    top,
    mark() {
      checkDepth(marks.length + 1);
      marks.push(stack.length);
    },
    popMarked() {
      const from = marks.pop();
      if (from === undefined) throw new MalformedState('there is no mark');
      return stack.splice(from);
    },
    remember(index = memo.size) {
      memo.set(index, top());
      if (memo.size > within.memo)
        throw new MalformedState(`more than ${within.memo} remembered values`);
    },
    recall(index) {
      const item = memo.get(index);
      if (item === undefined) throw new MalformedState(`reference ${index} leads nowhere`);
      if (!item.isWhole)
        throw new MalformedState(`reference ${index} leads to what isn't finished`);
      count(1, item.weight);
      stack.push(item);
    },
    end() {
      const item = stack.pop();
      if (stack.length > 0 || marks.length > 0 || at !== pickle.length)
        throw new MalformedState(`it ends at byte ${at}, and there is more`);
      const held = item?.held;
      if (!isInstance(held) || held.of !== 'state' || item?.isWhole !== true)
        throw new MalformedState(`it holds no ${globalNames.state[1]}`);
      return held;
    },
  };
}

type Held = Item['held'] | undefined;

export function isKind<K extends 'tuple' | 'dict' | 'set' | 'global' | 'utc' | 'zero'>(
  held: Held,
  kind: K,
): held is Extract<Value | Part, { readonly is: K }> {
  return typeof held === 'object' && held !== null && 'is' in held && held.is === kind;
}

export function isInstance(held: Held): held is Instance {
  return typeof held === 'object' && held !== null && 'is' in held && held.is === 'instance';
}

export function isPart(held: Item['held']): held is Part {
  return isKind(held, 'global') || isKind(held, 'utc') || isKind(held, 'zero');
}
