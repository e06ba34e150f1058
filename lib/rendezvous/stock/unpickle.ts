import {
  createMachine,
  type Item,
  isInstance,
  isKind,
  isPart,
  type Machine,
  type Part,
} from './machine.js';
import { timeOf } from './times.js';
import {
  type ClassName,
  type GlobalName,
  globalNames,
  type Instance,
  type Limits,
  limits,
  MalformedState,
  mostDepth,
  type Value,
} from './values.js';

/**
 * Reads a pickle of PyTorch's rendezvous: a stack machine that knows the instructions of such pickles and no others, and
 * five global names, each for one purpose. Python's own would import and call what a pickle names.
 *
 * A reference leads only to what is finished, so that nothing holds itself.
 *
 * @source CPython 3.11, Lib/pickletools.py; protocols 4 (Python 3.8 and later) and 5 (3.14 and later)
 */
export function unpickle(bytes: Buffer, within: Limits = limits): Instance {
  if (bytes.length > within.bytes)
    throw new MalformedState(`it has ${bytes.length} bytes, and ${within.bytes} are the most`);
  const machine = createMachine(bytes, within);
  const protocol = machine.number(1) === 0x80 ? machine.number(1) : 0;
  if (protocol < 2 || protocol > 5)
    throw new MalformedState('it does not begin as a pickle of protocol 2 to 5 does');
  for (let count = 0; ; count++) {
    // Some push nothing, and would cost nothing else that is counted.
    if (count > 4 * within.values)
      throw new MalformedState(`it has more than ${4 * within.values} instructions`);
    const at = machine.at();
    const code = machine.number(1);
    if (code === stop) return machine.end();
    const instruction = instructions.get(code);
    const named = (): string => `instruction 0x${code.toString(16).padStart(2, '0')} at byte ${at}`;
    if (instruction === undefined)
      throw new MalformedState(`${named()} is none that such a pickle has`);
    try {
      instruction(machine);
    } catch (error) {
      if (!(error instanceof MalformedState)) throw error;
      throw new MalformedState(`${named()}: ${error.message}`);
    }
  }
}

const stop = 0x2e;

type Instruction = (machine: Machine) => void;

/** All that such a pickle consists of, by pickletools' names. */
const instructions: ReadonlyMap<number, Instruction> = new Map<number, Instruction>([
  // FRAME: how many bytes may be read at once
  [0x95, machine => frame(machine)],

  // MEMOIZE, BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
  [0x94, machine => machine.remember()],
  [0x71, machine => machine.remember(machine.number(1))],
  [0x72, machine => machine.remember(machine.number(4))],
  [0x68, machine => machine.recall(machine.number(1))],
  [0x6a, machine => machine.recall(machine.number(4))],

  // NONE, NEWTRUE, NEWFALSE, BININT1, BININT2, BININT, LONG1
  [0x4e, machine => machine.push(plain(null, 1))],
  [0x88, machine => machine.push(plain(true, 1))],
  [0x89, machine => machine.push(plain(false, 1))],
  [0x4b, machine => machine.push(plain(machine.number(1), 2))],
  [0x4d, machine => machine.push(plain(machine.number(2), 3))],
  [0x4a, machine => machine.push(plain(machine.number(4) | 0, 5))],
  [0x8a, machine => machine.push(long(machine.bytes(machine.number(1))))],

  // SHORT_BINUNICODE, BINUNICODE, SHORT_BINBYTES, BINBYTES
  [0x8c, machine => machine.push(text(machine.bytes(machine.number(1))))],
  [0x58, machine => machine.push(text(machine.bytes(machine.number(4))))],
  [0x43, machine => machine.push(blob(machine.bytes(machine.number(1))))],
  [0x42, machine => machine.push(blob(machine.bytes(machine.number(4))))],

  // MARK, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
  [0x28, machine => machine.mark()],
  [0x29, machine => machine.push(plain({ is: 'tuple', items: [] }, 1))],
  [0x85, machine => machine.push(tuple(popped(machine, 1)))],
  [0x86, machine => machine.push(tuple(popped(machine, 2)))],
  [0x87, machine => machine.push(tuple(popped(machine, 3)))],
  [0x74, machine => machine.push(tuple(machine.popMarked()))],

  // EMPTY_DICT, SETITEM, SETITEMS, EMPTY_SET, ADDITEMS
  [0x7d, machine => machine.push({ ...plain({ is: 'dict', entries: [] }, 3), isWhole: false })],
  [0x73, machine => setItems(machine, popped(machine, 2))],
  [0x75, machine => setItems(machine, machine.popMarked())],
  [0x8f, machine => machine.push({ ...plain({ is: 'set', items: [] }, 3), isWhole: false })],
  [0x90, machine => addItems(machine, machine.popMarked())],

  // STACK_GLOBAL, NEWOBJ, REDUCE, BUILD
  [0x93, machine => machine.push(global(popped(machine, 2)))],
  [0x81, machine => machine.push(newObject(popped(machine, 2)))],
  [0x52, machine => machine.push(call(popped(machine, 2)))],
  [0x62, machine => build(machine)],
]);

function frame(machine: Machine): void {
  if (machine.number(8) > machine.left()) throw new MalformedState('the pickle ends too early');
}

/** An item that holds no other. */
function plain(held: Item['held'], weight: number): Item {
  return { held, depth: 0, weight, isWhole: true };
}

/** A number of any length, the lowest byte first, in two's complement. */
function long(bytes: Buffer): Item {
  const hex = Buffer.from(bytes).reverse().toString('hex');
  const value = hex === '' ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`));
  const isNumber = Number.isSafeInteger(Number(value));
  return plain(isNumber ? Number(value) : value, bytes.length + 2);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function text(bytes: Buffer): Item {
  try {
    return plain(utf8.decode(bytes), bytes.length + 5);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new MalformedState('a text that is not UTF-8');
  }
}

function blob(bytes: Buffer): Item {
  // A copy, so that a time doesn't keep the whole pickle.
  return plain(Buffer.from(bytes), bytes.length + 5);
}

function popped(machine: Machine, count: number): Item[] {
  return Array.from({ length: count }, () => machine.pop()).reverse();
}

/** A value that may be in another one. */
function valueIn({ held, isWhole }: Item): Value {
  if (isPart(held)) throw new MalformedState(`${held.is} is no value`);
  if (isInstance(held) && held.of === 'state')
    throw new MalformedState('a state is in another value');
  const isFilled = isWhole || isKind(held, 'dict') || isKind(held, 'set');
  if (!isFilled) throw new MalformedState('a part of a value stands for a value');
  return held;
}

/** A value that Python can find in a dict or set. */
function keyOf(item: Item): Value {
  const value = valueIn(item);
  if (isKind(value, 'dict') || isKind(value, 'set'))
    throw new MalformedState(`a ${value.is} is no key`);
  return value;
}

function tuple(items: readonly Item[]): Item {
  // Arguments of a call may be parts; `call` has an eye on them.
  const isCall = items.some(({ held }) => isPart(held));
  const values = isCall ? items.map(({ held }) => held) : items.map(valueIn);
  return {
    held: { is: 'tuple', items: values as Value[] }, // and not whole, where it has parts
    depth: depthAround(items),
    weight: items.reduce((sum, { weight }) => sum + weight, 2),
    isWhole: !isCall,
  };
}

function depthAround(items: readonly Item[]): number {
  return items.reduce((deepest, { depth }) => Math.max(deepest, depth), 0) + 1;
}

function setItems(machine: Machine, items: readonly Item[]): void {
  const dict = machine.top();
  if (!isKind(dict.held, 'dict')) throw new MalformedState('items for what is no dict');
  if (items.length % 2 !== 0) throw new MalformedState('a key without a value');
  const entries = dict.held.entries as [Value, Value][]; // ours until the dict is in another value
  for (let i = 0; i < items.length; i += 2)
    entries.push([keyOf(items[i] as Item), valueIn(items[i + 1] as Item)]); // both are there
  grow(dict, items);
}

function addItems(machine: Machine, items: readonly Item[]): void {
  const set = machine.top();
  if (!isKind(set.held, 'set')) throw new MalformedState('items for what is no set');
  const into = set.held.items as Value[]; // ours until the set is in another value
  for (const item of items) into.push(keyOf(item));
  grow(set, items);
}

function grow(container: Item, items: readonly Item[]): void {
  container.depth = Math.max(container.depth, depthAround(items));
  if (container.depth > mostDepth) throw new MalformedState(`more than ${mostDepth} deep`);
  container.weight += items.reduce((sum, { weight }) => sum + weight, 0);
}

function global(items: readonly Item[]): Item {
  const [module, name] = items.map(({ held }) => held);
  const found = (Object.keys(globalNames) as GlobalName[]).find(
    each => globalNames[each][0] === module && globalNames[each][1] === name,
  );
  if (found === undefined) {
    const shown = [module, name].map(each => (typeof each === 'string' ? each : '?')).join('.');
    throw new MalformedState(`the name ${JSON.stringify(shown.slice(0, 100))} has no place there`);
  }
  return plain({ is: 'global', name: found }, 70);
}

function newObject([of, args]: readonly Item[]): Item {
  const name = isKind(of?.held, 'global') ? of.held.name : undefined;
  if (name !== 'state' && name !== 'node') throw new MalformedState('an object of no such class');
  if (!isKind(args?.held, 'tuple') || args.held.items.length > 0)
    throw new MalformedState(`a ${name} with arguments`);
  const attributes = new Map<string, Value>();
  return {
    ...plain({ is: 'instance', of: name satisfies ClassName, attributes }, 80),
    isWhole: false,
  };
}

function call([callee, args]: readonly Item[]): Item {
  const name = isKind(callee?.held, 'global') ? callee.held.name : undefined;
  if (name === undefined || !isKind(args?.held, 'tuple'))
    throw new MalformedState('a call of that');
  const given: readonly (Value | Part)[] = args.held.items;
  const [first, second] = given;
  switch (name) {
    case 'timedelta':
      if (given.length !== 3 || given.some(each => each !== 0)) break;
      return plain({ is: 'zero' }, 10);
    case 'timezone':
      if (given.length !== 1 || !isKind(first, 'zero')) break;
      return plain({ is: 'utc' }, 80);
    case 'datetime':
      if (!Buffer.isBuffer(first) || given.length > 2) break;
      if (given.length === 2 && !isKind(second, 'utc')) break;
      return plain(timeOf(first, given.length === 2), 120);
  }
  throw new MalformedState(`${name} with other arguments than a time in UTC has`);
}

function build(machine: Machine): void {
  const { held: attributes, depth, weight } = machine.pop();
  const object = machine.top();
  if (!isInstance(object.held) || object.isWhole)
    throw new MalformedState('attributes for what has none to get');
  if (!isKind(attributes, 'dict')) throw new MalformedState('attributes that are no dict');
  const into = object.held.attributes as Map<string, Value>; // ours until it's whole
  for (const [name, value] of attributes.entries) {
    if (typeof name !== 'string') throw new MalformedState('an attribute whose name is no text');
    into.set(name, value);
  }
  object.depth = depth + 1;
  if (object.depth > mostDepth) throw new MalformedState(`more than ${mostDepth} deep`);
  object.weight += weight;
  object.isWhole = true;
}
