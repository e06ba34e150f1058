import t from 'tap';
import type { WorkerFailure } from '../../../lib/events.js';
import {
  emptyView,
  type Failure,
  type MemberState,
  type View,
} from '../../../lib/rendezvous/job/shared.js';
import { endsOf } from '../../../lib/rendezvous/told/ends.js';

// What a node hears of the others' workers once the job has failed: MN-21.

const kept = { created: 1, modified: 1 };
const agents = ['a', 'b', 'c'];

function failed(rank: number): WorkerFailure {
  return {
    ...{ rank, localRank: 0, pid: 1, exitcode: 1, cause: 'own', duringStop: true, durationMs: 1 },
    ...{ exit: { how: 'exited', code: 1 }, message: '', traceback: '', timestamp: 0, host: 'x' },
  };
}

function reported(agent: string, rank: number): Failure {
  const failures = [failed(rank)];
  const rest = { round: 4, ranMs: 1, atMs: 1, progress: 0, isStuck: false, chance: 0 };
  return { agent, round: 4, report: { failures, ...rest } };
}

/** A job of three nodes whose fifth round has failed on `b`. */
function viewOf(given: Partial<View> = {}, states: Record<string, MemberState> = {}): View {
  const running = { is: 'running', round: 4 } as const;
  const participants = agents.map(agent => ({
    ...{ agent, incarnation: 1, node: `node-${agent}`, localWorldSize: 1 },
  }));
  const ledger = { spent: 0, restartedAtMs: [], fruitless: 0, step: 0 };
  const value = { number: 4, restartCount: 4, participants, ledger, clock: 'a' };
  const verdict = { is: 'failed', because: 'no-restarts-left', round: 4, agent: 'b' } as const;
  const members = participants.map(each => ({ ...each, state: states[each.agent] ?? running }));
  return {
    ...emptyView,
    round: { value, ...kept },
    verdict: { value: verdict, ...kept },
    members: new Map(members.map(member => [member.agent, { value: member, ...kept }])),
    failures: new Map([['4/b', { value: reported('b', 1), ...kept }]]),
    ...given,
  };
}

t.test('whoever has not told is awaited, and who has failed has told with the failure', t => {
  const { awaited, failures } = endsOf(viewOf(), 'a');
  t.strictSame(awaited, ['node-c']);
  t.match(failures, [{ rank: 1, node: 'node-b' }]);
  t.strictSame(endsOf(viewOf(), 'c').awaited, ['node-a']);
  t.end();
});

t.test('what others tell comes in the order of their ranks, with their nodes', t => {
  const ends = new Map([['4/c', { value: [failed(2)], ...kept }]]);
  t.match(endsOf(viewOf({ ends }), 'a'), {
    awaited: [],
    failures: [
      { rank: 1, node: 'node-b' },
      { rank: 2, node: 'node-c' },
    ],
  });
  t.end();
});

t.test('nobody waits for one that is gone, leaves, or whose workers had succeeded', t => {
  const { members, ...view } = viewOf();
  const without = new Map([...members].filter(([agent]) => agent !== 'c'));
  t.strictSame(endsOf({ ...view, members: without }, 'a').awaited, []);
  t.strictSame(endsOf(viewOf({}, { c: { is: 'leaving', round: 4 } }), 'a').awaited, []);
  const done = new Map([['4/c', { value: true as const, ...kept }]]);
  t.strictSame(endsOf(viewOf({ done }), 'a').awaited, []);
  t.end();
});

t.test('a job that has not failed has nothing to tell', t => {
  const { verdict, ...view } = viewOf();
  t.ok(verdict);
  t.strictSame(endsOf(view, 'a'), { failures: [], awaited: [] });
  const succeeded = { value: { is: 'succeeded' } as const, ...kept };
  t.strictSame(endsOf(viewOf({ verdict: succeeded }), 'a'), { failures: [], awaited: [] });
  t.end();
});
