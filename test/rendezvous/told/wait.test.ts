import { mock } from 'node:test';
import t from 'tap';
import type { NodesWait } from '../../../lib/events/nodes.js';
import {
  emptyView,
  type MemberState,
  type SharedRound,
  type View,
} from '../../../lib/rendezvous/job/shared.js';
import { initialParticipant, type ParticipantState } from '../../../lib/rendezvous/job/state.js';
import { waitOf } from '../../../lib/rendezvous/told/wait.js';
import { createSpaced, createWaits } from '../../../lib/rendezvous/told/waits.js';
import { settingsOf } from '../job/settings.js';

const limits = {
  endpoint: 'node1:29400',
  joinTimeoutMs: 600_000,
  lastCallMs: 30_000,
  endsMs: 35_000,
};

/** What `node1` waits for in a job of two or three nodes. */
function waitIn(
  view: View,
  local: ParticipantState['local'],
  hasLease = true,
  settings = settingsOf({ minNodes: 2, maxNodes: 3 }),
) {
  const policy = { maxRestarts: 0, rules: [], resetOnProgress: false };
  const times = { lastCallMs: 1, returnGraceMs: 1, growDebounceMs: 1 };
  const self = { agent: 'node1', node: 'node1', localWorldSize: 1 };
  const initial = initialParticipant(self, { agent: 'node1', settings, policy, ...times });
  return waitOf({ ...initial, view, local, hasLease }, limits);
}

function viewOf(
  members: Readonly<Record<string, MemberState>>,
  round?: Partial<SharedRound>,
): View {
  const kept = { created: 1, modified: 1 };
  const entries = Object.entries(members).map(([node, state]) => {
    const value = { agent: node, incarnation: 1, node, localWorldSize: 1, state };
    return [node, { value, ...kept }] as const;
  });
  const view = { ...emptyView, members: new Map(entries) };
  if (round === undefined) return view;
  const ledger = { spent: 0, restartedAtMs: [], fruitless: 0, step: 0 };
  const known = { number: 0, restartCount: 0, participants: [], ledger, clock: 'node1' };
  return { ...view, round: { value: { ...known, ...round }, ...kept } };
}

const waiting = { is: 'waiting', round: -1 } as const;
const ending = { because: 'lost', agents: ['node2'], delayMs: 0 } as const;
const participants = ['node1', 'node2', 'node3'].map(node => ({
  agent: node,
  incarnation: 1,
  node,
  localWorldSize: 1,
}));

t.test('MN-06 what a node waits for', async t => {
  const nodes = { waitsFor: 'nodes', endpoint: 'node1:29400', minNodes: 2, maxNodes: 3 } as const;
  const one = viewOf({ node1: waiting });
  const two = viewOf({ node2: waiting, node1: waiting });
  const after = { is: 'waiting', round: 0 } as const;

  t.match(waitIn(one, waiting), { ...nodes, here: ['node1'], ending: [], limitMs: 600_000 });
  t.match(waitIn(two, waiting), { ...nodes, here: ['node1', 'node2'], limitMs: 30_000 });
  t.match(waitIn(viewOf({ node1: after }, { ending }), after), { ...nodes, here: ['node1'] });
  t.match(
    waitIn(viewOf({ node1: after, node2: { is: 'running', round: 0 } }, { ending }), after),
    { ...nodes, here: ['node1'], ending: ['node2'] },
    'their workers are to end first',
  );
  t.match(waitIn(one, waiting, false), { waitsFor: 'endpoint', endpoint: 'node1:29400' });
});

t.test('MN-06 a number of nodes that is not legal is not enough', async t => {
  const settings = settingsOf({ minNodes: 1, maxNodes: 8, nodesSet: [2, 8] });
  const one = viewOf({ node1: waiting });

  t.match(waitIn(one, waiting, true, settings), { minNodes: 2, here: ['node1'], limitMs: 600_000 });
  const after = { is: 'waiting', round: 0 } as const;
  t.match(waitIn(viewOf({ node1: after }, { ending }), after, true, settings), { minNodes: 2 });
});

t.test('MN-29 a node too many waits for a place, and one in time to be taken in', async t => {
  const full = viewOf({ node1: waiting }, { participants });
  const roomy = viewOf({ node1: waiting }, { participants: participants.slice(1) });

  t.strictSame(waitIn(full, waiting), { waitsFor: 'place', round: 0, nodes: 3, maxNodes: 3 });
  t.strictSame(waitIn(roomy, waiting), { waitsFor: 'place', round: 0, nodes: 2, maxNodes: 3 });
});

t.test('a node that is about to start waits for nothing', async t => {
  const all = { node1: waiting, node2: waiting, node3: waiting };
  const after = { is: 'waiting', round: 0 } as const;

  t.equal(waitIn(viewOf(all), waiting), undefined);
  t.equal(waitIn(viewOf({ node1: after, node2: after }, { ending }), after), undefined);
  t.equal(waitIn(viewOf({ node1: after }, { participants }), after), undefined);
  t.equal(waitIn(viewOf({}), { is: 'running', round: 0 }), undefined);
});

t.test('MN-76 a node whose workers have ended waits for those of others', async t => {
  const kept = { value: true, created: 1, modified: 1 } as const;
  const view = (...done: string[]): View => ({
    ...viewOf({}, { participants }),
    done: new Map(done.map(agent => [`0/${agent}`, kept])),
  });
  const done = { is: 'done', round: 0 } as const;
  const peers = { waitsFor: 'peers', round: 0, nodes: 3 } as const;

  t.strictSame(waitIn(view(), done), { ...peers, done: 1, running: ['node2', 'node3'] });
  t.strictSame(waitIn(view('node1', 'node3'), done), { ...peers, done: 2, running: ['node2'] });
  t.equal(waitIn(view('node1', 'node2', 'node3'), done), undefined);
  t.equal(waitIn(viewOf({}, { participants, ending }), done), undefined, 'another round follows');
  t.equal(waitIn(viewOf({}, { participants, number: 1 }), done), undefined);
  t.equal(waitIn(view('node2'), { is: 'running', round: 0 }), undefined);
});

t.test('MN-06 a wait is told after a second, and then what changes, ever more seldom', async t => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const told: NodesWait[] = [];
  const waits = createWaits(wait => told.push(wait));
  const wait = (nodes: number): NodesWait => ({ waitsFor: 'place', round: 0, nodes, maxNodes: 9 });

  waits.now(wait(1));
  waits.now(wait(2));
  mock.timers.tick(999);
  t.strictSame(told, []);
  mock.timers.tick(1);
  t.strictSame(told, [wait(2)], 'as it is by then');
  waits.now(wait(3));
  waits.now(wait(4));
  mock.timers.tick(1_999);
  t.equal(told.length, 1);
  mock.timers.tick(1);
  t.strictSame(told.slice(1), [wait(4)]);
  mock.timers.tick(100_000);
  t.equal(told.length, 2, 'nothing has changed');
  waits.now(wait(5));
  t.strictSame(told.slice(2), [wait(5)]);

  waits.now(undefined);
  waits.now(wait(5));
  mock.timers.tick(999);
  waits.now(undefined);
  mock.timers.tick(100_000);
  t.equal(told.length, 3, 'one that was over within a second');
  waits.now(wait(6));
  waits.close();
  mock.timers.tick(100_000);
  t.equal(told.length, 3);
});

t.test(
  'R-052 what is asked for again and again is done at once, and once more a while later',
  async t => {
    mock.timers.enable({ apis: ['setTimeout'] });
    t.teardown(() => mock.timers.reset());
    let done = 0;
    const spaced = createSpaced(() => done++, 50);

    spaced.soon();
    t.equal(done, 1);
    spaced.soon();
    spaced.soon();
    t.equal(done, 1);
    mock.timers.tick(50);
    t.equal(done, 2, 'as it is by then');
    mock.timers.tick(1_000);
    t.equal(done, 2);
    spaced.soon();
    t.equal(done, 3);

    spaced.soon();
    spaced.close();
    mock.timers.tick(1_000);
    t.equal(done, 3);
  },
);
