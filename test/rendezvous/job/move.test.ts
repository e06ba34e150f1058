import t from 'tap';
import { isRegistered } from '../../../lib/rendezvous/job/move.js';
import { type ParticipantEvent, step } from '../../../lib/rendezvous/job/participant.js';
import { emptyView, type SharedRound, type View } from '../../../lib/rendezvous/job/shared.js';
import { initialParticipant } from '../../../lib/rendezvous/job/state.js';
import { settingsOf } from './settings.js';

// What an agent does whose server is another one.

const settings = settingsOf({ minNodes: 1, maxNodes: 2 });
const options = {
  agent: 'a',
  settings,
  policy: { maxRestarts: 0, rules: [], resetOnProgress: false },
  lastCallMs: 100,
  returnGraceMs: 100,
  growDebounceMs: 100,
};

function roundOf(number: number, ...agents: readonly string[]): SharedRound {
  const participants = agents.map(agent => ({
    agent,
    incarnation: 1,
    node: agent,
    localWorldSize: 1,
  }));
  const ledger = { spent: 0, restartedAtMs: [], fruitless: 0, step: 0 };
  return { number, restartCount: number, participants, ledger, clock: 'a' };
}

/** A table with that round, and with these settings. */
function viewOf(round: SharedRound | undefined, revision = 9): View {
  const kept = { created: revision, modified: revision };
  const table = revision === 9 ? 'the first' : 'another';
  const settled = { ...emptyView, revision, table, settings: { value: settings, ...kept } };
  return round === undefined ? settled : { ...settled, round: { value: round, ...kept } };
}

/** An agent in round 3 with `b`, after what has happened to it since. */
function play(...events: readonly ParticipantEvent[]) {
  const state = initialParticipant({ agent: 'a', node: 'a', localWorldSize: 1 }, options);
  let after = step(state, { event: 'leased' }, 0, 0);
  const told = [];
  for (const event of [
    { event: 'join' },
    { event: 'seen', view: viewOf(roundOf(3, 'a', 'b')), isAnew: true },
    { event: 'moved' },
    { event: 'written', revision: 0 },
    ...events,
  ] as const) {
    after = step(after.state, event, 0, 0);
    told.push(...after.told.map(({ tell }) => tell));
  }
  return { ...after, told };
}

t.test('it brings its round to a table that has none, and stays who it was', t => {
  const { write, told, state } = play(
    { event: 'seen', view: viewOf(undefined, 2), isAnew: true },
    { event: 'leased' },
  );
  t.match(write, {
    compares: [
      { key: 'round', is: 'absent' },
      { key: 'verdict', is: 'absent' },
    ],
    changes: [{ put: 'round' }],
  });
  const [change] = write?.changes ?? [];
  t.match(change !== undefined && 'value' in change && JSON.parse(change.value), {
    number: 3,
    isRestored: true,
  });
  t.strictSame(told, ['round-formed']);
  t.equal(state.incarnation, 1);
  t.notOk(isRegistered(state), 'nobody knows of its workers yet');
  t.end();
});

t.test('it brings the settings, too, though one that was started otherwise was there first', t => {
  const theirs = { ...settings, maxNodes: 3 };
  const kept = { created: 1, modified: 1 };
  const settled = { value: theirs, ...kept };
  const view = { ...emptyView, revision: 2, table: 'another', settings: settled };
  const { write, told } = play({ event: 'seen', view, isAnew: true }, { event: 'leased' });

  t.strictSame(told, ['round-formed'], 'it is not refused');
  t.match(write, {
    compares: [{ key: 'round' }, { key: 'verdict' }, { key: 'settings', modified: 1 }],
    changes: [{ put: 'settings', value: JSON.stringify(settings) }, { put: 'round' }],
  });
  t.end();
});

t.test('it writes nothing by what it has seen at the server before', t => {
  t.equal(play({ event: 'leased' }).write, undefined);
  t.end();
});

t.test('it is registered once its entry is there, beside its round', t => {
  const restored = { ...roundOf(3, 'a', 'b'), isRestored: true } as const;
  const state = { is: 'running', round: 3 } as const;
  const member = { agent: 'a', incarnation: 1, node: 'a', localWorldSize: 1, state };
  const members = new Map([['a', { value: member, created: 4, modified: 4 }]]);
  const see = (round: SharedRound) =>
    play(
      { event: 'leased' },
      { event: 'seen', view: { ...viewOf(round, 4), members }, isAnew: true },
    ).state;
  t.ok(isRegistered(see(restored)));
  t.ok(isRegistered(see(roundOf(3, 'a', 'b'))));
  const ending = { because: 'lost', agents: ['b'], delayMs: 0 } as const;
  t.ok(isRegistered(see({ ...restored, ending })));
  t.notOk(isRegistered(see({ ...roundOf(3, 'a', 'b'), ending })), 'another one may form by now');
  t.end();
});

t.test('it breaks its round where the table has another one, of the same number too', t => {
  for (const round of [roundOf(3, 'c'), roundOf(4, 'c'), roundOf(2, 'c')]) {
    const { told, state } = play(
      { event: 'leased' },
      { event: 'seen', view: viewOf(round, 4), isAnew: true },
    );
    t.strictSame(told, ['round-formed', 'round-broken'], `round ${round.number}`);
    t.notOk(isRegistered(state));
  }
  t.end();
});

t.test('a round that others have brought, and that is older, gives way', t => {
  const older = { ...roundOf(2, 'a', 'c'), isRestored: true } as const;
  const { write, told } = play(
    { event: 'leased' },
    { event: 'seen', view: viewOf(older, 4), isAnew: true },
  );
  t.match(write, { compares: [{ key: 'round', modified: 4 }, {}], changes: [{ put: 'round' }] });
  t.strictSame(told, ['round-formed']);
  t.end();
});

t.test('one whose fence has passed brings nothing, and is another member', t => {
  const { write, state } = play(
    { event: 'lease-lost' },
    { event: 'seen', view: viewOf(undefined, 2), isAnew: true },
    { event: 'leased' },
  );
  t.notMatch(write, { changes: [{ put: 'round' }] });
  t.equal(state.incarnation, 2);
  t.end();
});
