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
      { event: 'seen', view: roundOf(3, 'b'), isAnew: true },
      { event: 'seen', view: emptyView, isAnew: true },
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
