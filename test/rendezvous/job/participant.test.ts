import t from 'tap';
import { type ParticipantEvent, step, type Told } from '../../../lib/rendezvous/job/participant.js';
import { emptyView, type View } from '../../../lib/rendezvous/job/shared.js';
import { initialParticipant, type ParticipantState } from '../../../lib/rendezvous/job/state.js';
import { settingsOf } from './settings.js';

const options = {
  agent: 'a',
  settings: settingsOf({ minNodes: 1, maxNodes: 2 }),
  policy: { maxRestarts: 0, rules: [], resetOnProgress: false },
  lastCallMs: 100,
  returnGraceMs: 100,
  growDebounceMs: 100,
};

/** A live round of one agent. */
function roundOf(number: number, agent: string): View {
  const participants = [{ agent, incarnation: 1, node: agent, localWorldSize: 1 }];
  const ledger = { spent: 0, restartedAtMs: [], fruitless: 0, step: 0 };
  const value = { number, restartCount: number, participants, ledger, clock: agent };
  return { ...emptyView, revision: 9, round: { value, created: 9, modified: 9 } };
}

/** What an agent is told while these things happen. */
function play(...events: readonly ParticipantEvent[]): {
  readonly state: ParticipantState;
  readonly told: readonly Told[];
} {
  let state = initialParticipant({ agent: 'a', node: 'a', localWorldSize: 1 }, options);
  const told: Told[] = [];
  for (const event of events) {
    const after = step(state, event, 0, 0);
    state = after.state;
    told.push(...after.told);
  }
  return { state, told };
}

const report = {
  round: 0,
  failures: [],
  ranMs: 1,
  atMs: 1,
  progress: 0,
  isStuck: false,
  chance: 0,
};

t.test(
  'one that has waited beside a round remembers it where the table comes anew without one',
  t => {
    const { state } = play(
      { event: 'leased' },
      { event: 'join' },
      { event: 'seen', view: { ...roundOf(3, 'b'), table: 'one' }, isAnew: true },
      { event: 'seen', view: { ...emptyView, table: 'two' }, isAnew: true },
    );
    t.match(state.local, { is: 'waiting', round: 3 });
    t.equal(state.notBefore, 0, 'revisions are of another server');
    t.end();
  },
);

t.test('one that has reported a failure and loses its lease is told to join again', t => {
  const { told, state } = play(
    { event: 'leased' },
    { event: 'join' },
    { event: 'seen', view: roundOf(0, 'a'), isAnew: true },
    { event: 'failing', round: 0 },
    { event: 'failed', report },
    { event: 'lease-lost' },
    { event: 'join' },
  );
  t.strictSame(
    told.map(({ tell }) => tell),
    ['round-formed', 'restart'],
  );
  t.match(state.local, { is: 'waiting', round: 0 });
  t.end();
});

t.test('one that fails after the round was broken is told what follows all the same', t => {
  const failed = roundOf(0, 'a');
  const failures = new Map([
    ['0/b', { value: { agent: 'b', round: 0 }, created: 10, modified: 10 }],
  ]);
  const { told } = play(
    { event: 'leased' },
    { event: 'join' },
    { event: 'seen', view: failed, isAnew: true },
    { event: 'seen', view: { ...failed, failures, revision: 10 }, isAnew: false },
    { event: 'failing', round: 0 },
    { event: 'failed', report },
    { event: 'seen', view: { ...roundOf(1, 'b'), revision: 11 }, isAnew: false },
  );
  t.match(told, [
    { tell: 'round-formed' },
    { tell: 'round-broken', because: 'failed', agents: ['b'] },
    { tell: 'restart', round: 0 },
  ]);
  t.end();
});

/** A table that came anew, with nobody in it but these. */
function anew(table: string, ...agents: readonly string[]): View {
  const members = agents.map(agent => {
    const state = { is: 'waiting', round: -1 } as const;
    const value = { agent, incarnation: 1, node: agent, localWorldSize: 1, state };
    return [agent, { value, created: 1, modified: 1 }] as const;
  });
  return { ...emptyView, revision: 9, table, members: new Map(members) };
}

t.test('R-044 one whose table was cleared while it was cut off is told that the job is over', t => {
  const there = { ...roundOf(3, 'b'), table: 'one' };
  const after = (view: View) =>
    play(
      { event: 'leased' },
      { event: 'join' },
      { event: 'seen', view, isAnew: true },
      { event: 'lease-lost' },
      { event: 'seen', view: anew('one'), isAnew: true },
    );
  const { told, state } = after({ ...there, members: anew('one', 'a').members });
  t.strictSame(told, [{ tell: 'missed' }]);
  t.match(state.local, { is: 'over' });
  t.match(after(there), { told: [], state: { local: { is: 'waiting' } } }, 'not of its run');
  t.end();
});

t.test('R-047 one that comes to another table brings the budget, and begins nothing alone', t => {
  const options2 = { ...options, settings: settingsOf({ minNodes: 1, maxNodes: 3 }) };
  const ledger = { spent: 2, restartedAtMs: [5], fruitless: 0, step: 0 };
  const strikes = { failures: [{ node: 'b', atMs: 5 }], leftOut: [] };
  for (const [nodes, begins] of [
    [['a', 'b'], false],
    [['a'], true],
  ] as const) {
    const { round } = roundOf(3, 'a');
    const participants = nodes.map(agent => ({
      ...{ agent, incarnation: 1, node: agent, localWorldSize: 1 },
    }));
    const value = { number: 3, restartCount: 3, participants, ledger, strikes, clock: 'b' };
    const before = { ...emptyView, table: 'one', round: { ...round, value } } as View;
    const rule = { failures: 3, perMs: 10_000 };
    let state = initialParticipant(
      { agent: 'a', node: 'a', localWorldSize: 1 },
      { ...options2, strikes: rule },
    );
    const settings = { value: options2.settings, created: 1, modified: 1 };
    const leader = { value: { agent: 'a' }, created: 1, modified: 1 };
    const writes: unknown[] = [];
    const happen = (event: ParticipantEvent, nowMs: number) => {
      const after = step(state, event, nowMs, 0);
      state = after.state;
      if (after.write !== undefined) writes.push(...after.write.changes);
    };
    happen({ event: 'leased' }, 0);
    happen({ event: 'join' }, 0);
    happen({ event: 'seen', view: before, isAnew: true }, 0);
    happen({ event: 'lease-lost' }, 0);
    happen({ event: 'join' }, 0);
    happen({ event: 'written', revision: 0 }, 0);
    happen({ event: 'seen', view: { ...anew('two'), settings }, isAnew: true }, 0);
    happen({ event: 'leased' }, 0);
    const own = JSON.parse((writes.at(-1) as { value: string }).value);
    t.match(own, { agent: 'a', past: { number: 3, nodes: nodes.length, ledger, strikes } });
    const members = new Map([['a', { value: own, created: 1, modified: 1 }]]);
    happen({ event: 'written', revision: 10 }, 0);
    writes.length = 0;
    const now = { ...anew('two'), revision: 10, settings, leader, members };
    happen({ event: 'seen', view: now, isAnew: false }, 1);
    happen({ event: 'time' }, 60_000);
    t.equal(writes.length, begins ? 1 : 0, `after a round of ${nodes.length}`);
    if (begins) {
      const formed = JSON.parse((writes[0] as { value: string }).value);
      t.match(formed, { number: 4, ledger: { spent: 2, restartedAtMs: [1] }, clock: 'a' });
      t.match(formed.strikes.failures, [{ node: 'b', atMs: 1 }], 'as of now');
    }
  }
  t.end();
});
