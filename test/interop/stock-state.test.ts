import t, { type Test } from 'tap';
import {
  decodeState,
  encodeState,
  type Generation,
  type StockNode,
  type StockState,
} from '../../lib/rendezvous/stock/state.js';
import { millisecondsOf } from '../../lib/rendezvous/stock/times.js';
import type { Attributes, Time, Value } from '../../lib/rendezvous/stock/values.js';
import { startProgram } from '../harness.js';
import { torchOrSkip } from './torch.js';

// States of PyTorch's own rendezvous, as its classes pickle them, and ours as its classes read them.

t.setTimeout(600_000);

/** By whose classes. `like`: with the attributes of an older release that has the same ones. */
const sources = [
  { release: 'newest', generation: '2.6' },
  { release: 'newest', generation: '2.3', like: '2.3' },
  { release: 'newest', generation: '2.0', like: '2.0' },
  { release: '1.13', generation: '1.13' },
] as const;

interface Made {
  readonly name: string;
  readonly protocol: number;
  readonly text: Buffer;
  readonly description: unknown;
}

for (const { release, generation, ...source } of sources) {
  const like = 'like' in source ? [source.like] : [];
  t.test(`R-008 states of PyTorch, ${release}${like.map(each => ` as of ${each}`)}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const program = [torch.python, 'test/interop/stock_state.py', ...like];
    const run = startProgram(t, program, { typing: true, env: { OMP_NUM_THREADS: '1' } });
    t.teardown(async () => {
      run.type();
      await run.ended;
    });
    await run.line(/^ready$/);
    const all = run
      .stdout()
      .split('\n')
      .filter(line => line.startsWith('made '))
      .map(madeOf);
    const made = all.filter(({ protocol }) => protocol >= 4);

    t.test(
      'R-006, R-011 are read as they are, by both protocols of Python 3.8 and later',
      async t => {
        t.equal(made.length, 8);
        for (const { name, protocol, text, description } of made)
          t.strictSame(describe(stateOf(text)), description, `${name}, protocol ${protocol}`);
      },
    );

    t.test('R-006 of older protocols are refused: those need more names', async t => {
      for (const { name, protocol, text } of all.filter(each => !made.includes(each)))
        t.throws(() => decodeState(text), { name: 'MalformedState' }, `${name}, ${protocol}`);
    });

    t.test('R-007, R-009 are read by PyTorch as we write them, and written back', async t => {
      for (const { name, text, description } of made) {
        const ours = encodeState(stateOf(text), generation);

        run.type(`${ours}\n`);
        const line = await run.line(/^(read|failed) /);
        const [, again = '', json = ''] = /^again (\S+) (.*)/.exec(await run.line(/^again /)) ?? [];

        t.strictSame(JSON.parse(line.replace(/^read /, '')), description, name);
        t.strictSame(describe(stateOf(Buffer.from(again))), JSON.parse(json), `${name}, again`);
        compareSizes(t, ours, again);
      }
    });

    t.test('R-010 are told from those of the other generations', async t => {
      const others = (['1.13', '2.0', '2.3', '2.6'] as Generation[]).filter(g => g !== generation);
      const { text } = made.find(({ name }) => name === 'everything') ?? { text: Buffer.of() };
      t.strictSame(stateOf(text).generations, [generation]);
      for (const other of others) t.throws(() => encodeState(stateOf(text), other));
    });
  });
}

function madeOf(line: string): Made {
  const [, name = '', protocol, text = '', json = ''] =
    /^made (\w+) (\d) (\S+) (.*)$/.exec(line) ?? [];
  return {
    ...{ name, protocol: Number(protocol), text: Buffer.from(text) },
    description: JSON.parse(json),
  };
}

function stateOf(text: Buffer): StockState {
  const state = decodeState(text);
  if (state === undefined) throw new Error('there is a state');
  return state;
}

/** A store carries each write three times. */
function compareSizes(t: Test, ours: Buffer, theirs: string): void {
  t.ok(ours.length <= theirs.length * 1.05, `${ours.length} of ${theirs.length} bytes`);
}

/** As stock_state.py tells of a state. */
function describe(state: StockState): unknown {
  const nodes = (list: ReadonlyMap<string, StockNode>): unknown =>
    [...list.values()].map(describeNode).sort((a, b) => (`${a[0]}` < `${b[0]}` ? -1 : 1));
  return {
    round: state.round,
    complete: state.isComplete,
    deadline: state.deadline === undefined ? null : describeTime(state.deadline),
    closed: state.isClosed,
    participants: [...state.participants.values()].map(({ node, rank }) => [
      ...describeNode(node),
      rank,
    ]),
    wait_list: nodes(state.waiting),
    redundancy_list: nodes(state.spares),
    last_heartbeats: [...state.heartbeats.values()].map(({ node, at }) => [
      ...describeNode(node),
      describeTime(at),
    ]),
    others: describeAll(state.others),
  };
}

function describeNode({ address, pid, localId, others }: StockNode): readonly unknown[] {
  return [address, pid, localId, describeAll(others)];
}

function describeTime(time: Time): string {
  const ms = millisecondsOf(time);
  const seconds = new Date(Math.floor(ms)).toISOString().slice(0, 19);
  const microseconds = time.fields.readUIntBE(7, 3);
  return `${seconds}.${`${microseconds}`.padStart(6, '0')}+00:00`;
}

function describeAll(attributes: Attributes): unknown {
  return Object.fromEntries([...attributes].map(([name, value]) => [name, plain(value)]));
}

/** As Python's json has it. */
function plain(value: Value): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (!('is' in value)) return value;
  if (value.is === 'tuple') return value.items.map(plain);
  if (value.is === 'dict')
    return Object.fromEntries(value.entries.map(([key, item]) => [String(key), plain(item)]));
  return value;
}
