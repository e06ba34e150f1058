import t from 'tap';
import {
  decodeState,
  emptyState,
  encodeState,
  type Generation,
  generations,
  nameOf,
  noState,
  type StockNode,
  type StockState,
  stateKey,
} from '../../../lib/rendezvous/stock/state.js';
import { millisecondsOf, timeAt, timeOf } from '../../../lib/rendezvous/stock/times.js';
import { type Attributes, MalformedState } from '../../../lib/rendezvous/stock/values.js';
import { blobs } from './blobs.js';

function base64(pickle: Buffer): Buffer {
  return Buffer.from(pickle.toString('base64'));
}

function decoded(text: Buffer): StockState {
  const state = decodeState(text);
  if (state === undefined) throw new Error('there is a state');
  return state;
}

const none: Attributes = new Map();

function nodeAt(address: string, localId: number, others = none): StockNode {
  return { address, pid: 70_000, localId, others };
}

function byName(...nodes: readonly StockNode[]): ReadonlyMap<string, StockNode> {
  return new Map(nodes.map(node => [nameOf(node), node]));
}

/** A state with something everywhere. */
function fullState(generation: Generation): StockState {
  const isAware = generation === '2.6';
  const hasSpares = generation === '2.3' || isAware;
  const nodes = [0, 1, 2, 3].map(localId => nodeAt(`node${localId}.example`, localId));
  const [first, second, third, fourth] = nodes as [StockNode, StockNode, StockNode, StockNode];
  return {
    ...emptyState(generation),
    round: 300,
    deadline: timeAt(1_790_000_000_123.456, isAware),
    participants: new Map(
      [first, second].map((node, i) => [nameOf(node), { node, rank: 1 - i }] as const),
    ),
    waiting: byName(third),
    spares: hasSpares ? byName(fourth) : new Map(),
    heartbeats: new Map(
      nodes.map((node, i) => [nameOf(node), { node, at: timeAt(1_790_000_000_000 + i, isAware) }]),
    ),
  };
}

t.test('R-001, R-002 a run has one key, and a text there that says that nothing is', async t => {
  t.equal(stateKey('job-1'), 'torch.rendezvous.job-1');
  t.equal(Buffer.from(noState, 'base64').toString(), 'canimadam');
  t.equal(decodeState(Buffer.from(noState)), undefined);
});

t.test('R-011 the states of stock agents are understood', async t => {
  const understood = blobs.map(({ pickle }) => {
    const state = decoded(base64(pickle));
    const { round, isComplete, isClosed, deadline, generations } = state;
    const beats = [...state.heartbeats.values()].map(({ node, at }) => [
      nameOf(node),
      new Date(millisecondsOf(at)).toISOString(),
    ]);
    const ranks = [...state.participants.values()].map(({ node, rank }) => [nameOf(node), rank]);
    const until = deadline && new Date(millisecondsOf(deadline)).toISOString();
    return { round, isComplete, isClosed, until, generations, ranks, beats };
  });

  const one = 'localhost_10186_0';
  const common = { isComplete: true, isClosed: false, until: undefined };
  const old = { ...common, generations: ['1.13'] };
  t.same(understood, [
    {
      ...{ ...old, round: 0, ranks: [[one, 0]], beats: [[one, '2026-11-22T12:02:26.615Z']] },
    },
    {
      ...{ ...old, isComplete: false, until: '2026-11-22T12:02:29.615Z', round: 0 },
      ...{ ranks: [[one, 0]], beats: [[one, '2026-11-22T12:02:26.615Z']] },
    },
    {
      ...{
        ...old,
        round: 1,
        ranks: [
          [one, 0],
          ['localhost_10186_1', 1],
        ],
      },
      beats: [
        ['localhost_10186_1', '2026-11-22T12:02:31.787Z'],
        [one, '2026-11-22T12:02:31.170Z'],
      ],
    },
    {
      ...{ ...common, generations: ['2.6'], round: 0, ranks: [['localhost_31705_0', 0]] },
      beats: [['localhost_31705_0', '2026-11-22T12:10:23.548Z']],
    },
    {
      ...{ ...common, generations: ['2.6'], round: 1 },
      ranks: [
        ['localhost_8806_0', 0],
        ['localhost_8806_1', 1],
      ],
      beats: [
        ['localhost_8806_1', '2026-11-22T12:23:02.080Z'],
        ['localhost_8806_0', '2026-11-22T12:23:01.392Z'],
      ],
    },
  ]);
});

t.test(
  'R-003, R-007, R-008 a state is written as its release writes it, and read back',
  async t => {
    for (const generation of generations) {
      const state = fullState(generation);

      const text = encodeState(state, generation);

      t.match(text.toString(), /^[\w+/]+={0,2}$/);
      t.strictSame(decoded(text), state, generation);
      const pickle = Buffer.from(text.toString(), 'base64').toString('latin1');
      const has = (word: string): boolean => pickle.includes(word);
      t.strictSame(
        [has('fqdn'), has('addr'), has('redundancy_list'), has('timezone')],
        {
          '1.13': [true, false, false, false],
          '2.0': [false, true, false, false],
          '2.3': [false, true, true, false],
          '2.6': [false, true, true, true],
        }[generation],
      );
    }
  },
);

t.test('R-007 a node of a large state takes no more than with stock agents', async t => {
  const nodes = Array.from({ length: 1000 }, (_, i) => nodeAt(`node-${i}.cluster.example.com`, 0));
  const state = {
    ...emptyState('2.6'),
    participants: new Map(nodes.map((node, rank) => [nameOf(node), { node, rank }])),
    heartbeats: new Map(nodes.map(node => [nameOf(node), { node, at: timeAt(0, true) }])),
  };

  const bytes = Buffer.from(encodeState(state, '2.6').toString(), 'base64').length;

  t.ok(bytes / nodes.length < 95, `${bytes / nodes.length} bytes a node`);
});

t.test('R-009 attributes that nobody knows are kept, of the state and of nodes', async t => {
  const others: Attributes = new Map<string, string | number>([
    ['regroup', '{"worker":1}'],
    ['count', 2 ** 40],
  ]);
  const node = nodeAt('a', 0, others);
  const plain = nodeAt('a', 0);
  const state = {
    ...emptyState('1.13'),
    participants: new Map([[nameOf(node), { node, rank: 0 }]]),
    // Another copy of the same node, without them.
    waiting: byName(plain),
    others,
  };

  t.strictSame(decoded(encodeState(state, '1.13')), state);
});

t.test('R-010 a state is never written as of another release than it is of', async t => {
  for (const written of generations) {
    for (const wanted of generations.filter(each => each !== written)) {
      t.throws(
        () => encodeState(decoded(encodeState(fullState(written), written)), wanted),
        new MalformedState(`it is of PyTorch ${written}, which ${wanted} can't read`),
      );
    }
  }
});

t.test('R-010 what says too little is of any release that would write it', async t => {
  const of = (generation: Generation, state: Partial<StockState> = {}): readonly Generation[] =>
    decoded(encodeState({ ...emptyState(generation), ...state }, generation)).generations;
  const waiting = byName(nodeAt('a', 0));

  t.strictSame(of('1.13'), ['1.13', '2.0']);
  t.strictSame(of('2.0'), ['1.13', '2.0']);
  t.strictSame(of('2.3'), ['2.3', '2.6']);
  t.strictSame(of('2.6', { waiting }), ['2.3', '2.6']);
  t.strictSame(of('1.13', { waiting }), ['1.13']);
});

t.test('R-006, R-010 a text that is no state is refused with the reason', async t => {
  const good = blobs[3]?.pickle ?? Buffer.of();
  const old = blobs[0]?.pickle ?? Buffer.of();
  const changed = (from: string, to: string, blob = good): Buffer =>
    base64(Buffer.from(blob.toString('latin1').replace(from, to), 'latin1'));
  const refused: readonly [what: string, text: Buffer, why: RegExp][] = [
    ['nothing', Buffer.of(), /ends too early/],
    ['no base64', Buffer.from('{"a": 1}'), /it is not base64/],
    ['base64 in lines', Buffer.from('gASV\nJwE='), /it is not base64/],
    ['a part of it', base64(good).subarray(0, -3), /it is not base64/],
    ['another name', changed('closed', 'closet'), /it has no closed/],
    ['no spares', changed('redundancy_list', 'redundancy_lost'), /different releases/],
    ['an old node in a new state', changed('\x04addr', '\x04fqdn'), /different releases/],
    ['no address', changed('\x04addr', '\x04addR'), /a node's addr should be text/],
    ['no pid', changed('\x03pid', '\x03piD'), /a node's pid should be a number/],
    [
      'a round below 0',
      changed('round\x94K\x00', 'round\x94\x8a\x01\xff', old).subarray(),
      /0x|round/,
    ],
    ['a flag that is none', changed('closed\x94\x89', 'closed\x94N'), /closed should be true or/],
    [
      'a deadline of True',
      changed('deadline\x94N', 'deadline\x94\x88'),
      /deadline should be a time/,
    ],
    ['nodes that are none', changed('wait_list\x94\x8f', 'wait_list\x94}'), /should be a set/],
  ];
  for (const [what, text, why] of refused) {
    t.throws(() => decodeState(text), { name: 'MalformedState', message: why }, what);
  }
});

t.test('times are exact to the microsecond, for all of the years that Python has', async t => {
  for (const atMs of [0, 1_790_000_000_123.456, -0.001, -62_135_596_800_000, 253_402_300_799_999]) {
    const time = timeAt(atMs, true);
    t.ok(Math.abs(millisecondsOf(time) - atMs) < 0.0005, `${atMs}`);
    t.strictSame(timeOf(time.fields, true), time, `${atMs}`);
  }
  for (const text of [
    '00000101000000000000', // year 0
    '27100101000000000000', // year 10000
    '07ea000a000000000000', // no month
    '07ea021d000000000000', // 29 February 2026
    '07ea0b16180000000000', // 24 o'clock
    '07ea0b160c3c00000000', // minute 60
    '07ea0b160c003c000000', // second 60
    '07ea0b160c00000f4240', // a million microseconds
    '07ea0b160c00000000',
  ])
    t.throws(() => timeOf(Buffer.from(text, 'hex'), false), MalformedState, text);
  t.equal(millisecondsOf(timeOf(Buffer.from('07ea8b160c0000000000', 'hex'), false)) % 1000, 0);
});
