import t from 'tap';
import type { StockSettings } from '../../../lib/rendezvous/stock/moves.js';
import {
  type After,
  type Happening,
  type ParticipantState,
  participantOf,
  pauseOf,
  step,
  type Told,
} from '../../../lib/rendezvous/stock/participant.js';
import {
  decodeState,
  emptyState,
  encodeState,
  type Generation,
  nameOf,
  noState,
  type StockNode,
  type StockState,
} from '../../../lib/rendezvous/stock/state.js';
import { MalformedState } from '../../../lib/rendezvous/stock/values.js';

// Agents at one store, which is a text: what each decides, in which order, and what it's told.

const seconds = 1_000;
const settings: StockSettings = {
  minNodes: 2,
  maxNodes: 3,
  lastCallMs: 30 * seconds,
  joinTimeoutMs: 600 * seconds,
  keepAliveMs: 5 * seconds,
  deadAfterMs: 15 * seconds,
};

function nodeAt(address: string): StockNode {
  return { address, pid: 1, localId: 0, others: new Map() };
}

interface World {
  /** Each looks in turn until nobody has anything to write. */
  settle(...names: readonly string[]): void;
  order(name: string, event: Exclude<Happening['event'], 'read'>): void;
  pass(ms: number, ...awake: readonly string[]): void;
  /** Time without a look. */
  stand(ms: number): void;
  /** How far its clock is ahead. */
  setClock(name: string, aheadMs: number): void;
  told(name: string): readonly Told[];
  stored(): ReturnType<typeof decodeState>;
}

function world(names: readonly string[], generation: Generation, given = settings): World {
  const agents = new Map<string, ParticipantState>(
    names.map(name => [name, participantOf(nodeAt(name), given, generation)]),
  );
  const heard = new Map<string, Told[]>(names.map(name => [name, []]));
  const clocks = new Map<string, number>();
  let text: Buffer = Buffer.from(noState);
  let nowMs = 0;

  function happen(name: string, happening: Happening): After {
    const state = agents.get(name);
    if (state === undefined) throw new Error(`${name} is nobody`);
    const wallMs = 1_790_000_000_000 + nowMs + (clocks.get(name) ?? 0);
    const after = step(state, happening, { nowMs, wallMs });
    agents.set(name, after.state);
    heard.get(name)?.push(...after.told);
    return after;
  }

  /** @returns whether it has written */
  function look(name: string): boolean {
    const { write } = happen(name, { event: 'read', stored: decodeState(text) });
    if (write !== undefined) {
      const immortals = immortalsOf(write);
      if (immortals.length > 0) throw new Error(`R-045: ${immortals} without a heartbeat`);
      text = encodeState(write, generation);
    }
    return write !== undefined;
  }

  const own: World = {
    settle(...some) {
      const lookers = some.length === 0 ? names : some;
      while (lookers.map(look).includes(true));
    },
    order: (name, event) => void happen(name, { event }),
    pass(ms, ...awake) {
      for (let left = ms; left > 0; left -= seconds) {
        nowMs += Math.min(left, seconds);
        own.settle(...awake);
      }
    },
    stand(ms) {
      nowMs += ms;
    },
    setClock: (name, aheadMs) => void clocks.set(name, aheadMs),
    told: name => heard.get(name)?.splice(0) ?? [],
    stored: () => decodeState(text),
  };
  return own;
}

/** Nodes that no agent of PyTorch would ever take for lost: they are in a list, and have no heartbeat. */
function immortalsOf({ participants, waiting, spares, heartbeats }: StockState): string[] {
  const listed = [participants, waiting, spares].flatMap(list => [...list.keys()]);
  return listed.filter(name => !heartbeats.has(name));
}

for (const generation of ['1.13', '2.6'] as const) {
  t.test(
    `R-015, R-016 a round has its nodes at once, or after the last call: ${generation}`,
    async t => {
      const three = world(['c', 'a', 'b'], generation);
      for (const name of ['c', 'a', 'b']) three.order(name, 'join');
      three.settle();
      t.match(three.told('b'), [{ tell: 'round', round: 0, rank: 1 }]);
      t.match(three.told('a'), [{ rank: 0 }]);

      const two = world(['a', 'b'], generation);
      for (const name of ['a', 'b']) two.order(name, 'join');
      two.settle();
      two.pass(29 * seconds);
      t.strictSame(two.told('a'), []);
      two.pass(3 * seconds);
      t.match(two.told('a'), [{ tell: 'round', round: 0, rank: 0, nodes: [{}, {}] }]);
    },
  );

  t.test(`R-018, R-021 a node that comes brings about a round of all: ${generation}`, async t => {
    const all = world(['a', 'b', 'c'], generation);
    all.order('a', 'join');
    all.order('b', 'join');
    all.settle('a', 'b');
    all.pass(32 * seconds, 'a', 'b');
    all.told('a');
    all.told('b');

    all.order('c', 'join');
    all.settle();

    const waits = nameOf(nodeAt('c'));
    t.strictSame(all.told('a'), [{ tell: 'broken', round: 0, because: 'growth', nodes: [waits] }]);
    all.order('a', 'join');
    all.settle();
    t.equal(all.stored()?.round, 0, 'b is in it still');
    all.order('b', 'join');
    all.settle();
    for (const name of ['a', 'b', 'c']) t.match(all.told(name).at(-1), { tell: 'round', round: 1 });
  });
}

/** @param aheadMs b's clock */
function pair(aheadMs = 0): World {
  const both = world(['a', 'b'], '2.6', { ...settings, maxNodes: 2 });
  both.setClock('b', aheadMs);
  for (const name of ['a', 'b']) both.order(name, 'join');
  both.settle();
  both.told('a');
  both.told('b');
  return both;
}

t.test('R-012, R-013, R-044 whoever is silent for long is lost, and only he', async t => {
  const both = pair();
  both.pass(60 * seconds);
  t.strictSame(both.told('a'), []);

  both.pass(21 * seconds, 'a');

  const nodes = [nameOf(nodeAt('b'))];
  t.strictSame(both.told('a'), [{ tell: 'broken', round: 0, because: 'lost', nodes }]);
});

t.test(
  'R-014 that a node is lost is written by whoever writes next, and not for itself',
  async t => {
    const both = pair();
    both.pass(16 * seconds, 'a');
    const [a, b] = ['a', 'b'].map(name => nameOf(nodeAt(name))) as [string, string];
    const before = both.stored();
    t.same([...(before?.participants.keys() ?? [])].sort(), [a, b]);

    both.pass(6 * seconds, 'a');

    t.same([...(both.stored()?.participants.keys() ?? [])], [a], 'with a heartbeat of its own');
  },
);

t.test('R-047 after a store that has stood still nobody is lost', async t => {
  const both = pair();
  both.stand(20 * seconds);
  both.settle('a');
  both.pass(30 * seconds);
  t.strictSame([...both.told('a'), ...both.told('b')], []);
});

t.test('R-045 who comes and dies is in no list for ever', async t => {
  const given = { ...settings, maxNodes: 2 };
  for (const late of ['c', 'd'] as const) {
    const all = world(['a', 'b', 'c', 'd'], '2.6', late === 'c' ? given : settings);
    for (const name of ['a', 'b']) all.order(name, 'join');
    all.settle('a', 'b');
    all.pass(32 * seconds, 'a', 'b');
    all.order(late, 'join');
    all.settle(late);
    const { waiting, spares } = all.stored() ?? emptyState('2.6');
    const lists = late === 'c' ? spares : waiting;
    t.same([...lists.keys()], [nameOf(nodeAt(late))]);

    all.pass(21 * seconds, 'a', 'b');

    const after = all.stored() ?? emptyState('2.6');
    for (const list of [after.waiting, after.spares, after.heartbeats])
      t.notOk(list.has(nameOf(nodeAt(late))));
  }
});

t.test('R-025 it looks at the state once a second at least, and not where it wants nothing', t => {
  const at = { nowMs: 0, wallMs: 1_790_000_000_000 };
  const idle = participantOf(nodeAt('a'), { ...settings, minNodes: 1, maxNodes: 1 }, '2.6');
  t.strictSame(pauseOf(idle), {});

  let { state } = step(idle, { event: 'join' }, at);
  const pauses = [pauseOf(state).pauseMs];
  const stored = emptyState('2.6');
  for (let read: StockState | undefined = stored; read !== undefined; ) {
    const after = step(state, { event: 'read', stored: read }, at);
    state = after.state;
    pauses.push(pauseOf(state).pauseMs);
    read = after.write;
  }

  t.equal(state.view?.isComplete, true, 'it is in a round');
  for (const pauseMs of pauses) t.ok(pauseMs !== undefined && pauseMs > 0 && pauseMs <= seconds);
  t.end();
});

t.test('R-046 whose clock is behind is not lost', async t => {
  const both = pair(-60 * seconds);
  both.pass(60 * seconds);
  t.strictSame(both.told('a'), []);
});

t.test('a node that fails comes back, and the others hear that it has failed', async t => {
  const both = pair();
  both.order('b', 'over');
  both.order('b', 'join');
  both.settle();
  t.match(both.told('a'), [{ tell: 'broken', because: 'failed' }]);
  both.order('a', 'join');
  both.settle();
  t.match(both.told('a'), [{ tell: 'round', round: 1 }]);
});

t.test('R-022 the end is for all and for ever; R-041 who leaves is in no list', async t => {
  const both = pair();
  both.order('b', 'depart');
  both.settle('b');
  t.match(both.told('b'), [{ tell: 'done' }]);
  t.notOk(both.stored()?.heartbeats.has(nameOf(nodeAt('b'))));
  both.settle('a');
  both.settle('a');
  t.strictSame(both.told('a'), [], 'it may be on its way into the next round');
  both.pass(seconds, 'a');
  t.match(both.told('a'), [{ tell: 'broken', because: 'left' }]);

  both.order('b', 'end');
  both.settle('b');
  both.order('a', 'join');
  both.settle('a');
  t.match(both.told('a'), [{ tell: 'no-round', because: 'closed' }]);
});

t.test('R-019, R-020 a node too many is a spare from 2.3 on, and waits for ever', async t => {
  const given = { ...settings, maxNodes: 2 };
  for (const [generation, spares] of [
    ['1.13', 0],
    ['2.6', 1],
  ] as const) {
    const all = world(['a', 'b', 'c'], generation, given);
    for (const name of ['a', 'b', 'c']) all.order(name, 'join');
    all.settle();
    t.equal(all.stored()?.spares.size, spares);
    all.pass(700 * seconds);
    t.match(all.told('c'), spares === 1 ? [] : [{ tell: 'no-round', because: 'late' }]);
    if (spares === 0) continue;
    all.order('a', 'end');
    all.settle();
    t.match(all.told('c'), [{ tell: 'no-round', because: 'released' }], 'R-042');
  }
});

t.test('R-023, R-024 without enough nodes it gives up in time, and leaves nothing', async t => {
  const one = world(['a'], '2.6');
  one.order('a', 'join');
  one.pass(602 * seconds);
  t.match(one.told('a'), [{ tell: 'no-round', because: 'late' }]);
  t.equal(one.stored()?.participants.size, 0);
  t.equal(one.stored()?.heartbeats.size, 0);
});

t.test('R-010 a state of another release is refused', async t => {
  const old = world(['x'], '1.13');
  old.order('x', 'join');
  old.settle();
  const stored = old.stored();
  const state = step(
    participantOf(nodeAt('a'), settings, '2.6'),
    { event: 'join' },
    { nowMs: 0, wallMs: 0 },
  );
  t.throws(
    () => step(state.state, { event: 'read', stored }, { nowMs: 0, wallMs: 0 }),
    MalformedState,
  );
});

t.test(
  'R-022, R-023 whoever has met nobody yet gives up in time, and goes or ends at once',
  async t => {
    const late = settings.joinTimeoutMs;
    const at = (nowMs: number) => ({ nowMs, wallMs: nowMs });
    const unread = { event: 'read', stored: undefined } as const;
    const { state } = step(participantOf(nodeAt('a'), settings), { event: 'join' }, at(0));

    t.strictSame(step(state, unread, at(late - 1)).told, []);
    t.match(step(state, unread, at(late)).told, [{ tell: 'no-round', because: 'late' }]);
    const stored = { ...emptyState('2.6'), generations: ['2.3', '2.6'], isClosed: true } as const;
    const over = step(state, { event: 'read', stored }, at(1));
    t.match(over.told, [{ tell: 'no-round', because: 'closed' }]);
    for (const event of ['depart', 'end'] as const)
      t.match(step(step(state, { event }, at(1)).state, unread, at(1)).told, [{ tell: 'done' }]);
  },
);

t.test('a spare of fewer nodes than there are waits, and writes nothing', async t => {
  const three = world(['a', 'b', 'c'], '2.6');
  for (const name of ['a', 'b', 'c']) three.order(name, 'join');
  three.settle();
  const fewer = participantOf(nodeAt('d'), { ...settings, maxNodes: 2 }, '2.6');
  const at = { nowMs: 0, wallMs: 1_790_000_000_000 };
  const { state } = step(fewer, { event: 'join' }, at);
  const first = step(state, { event: 'read', stored: three.stored() }, at);
  t.ok(first.write?.spares.has(nameOf(nodeAt('d'))), 'R-019');

  const second = step(first.state, { event: 'read', stored: first.write }, at);

  t.equal(second.write, undefined);
});
