import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { startClock, summaryOf, tick } from '../../../lib/agent/restarts/clock.js';
import { momentsOf } from '../../../lib/agent/restarts/moments.js';
import type { Action, AgentState, Happening, Policy } from '../../../lib/agent/step/state.js';
import { initialState, step } from '../../../lib/agent/step/step.js';
import type { WorkerFailure } from '../../../lib/events.js';
import type { FailurePolicy } from '../../../lib/options/failures.js';
import { hookNames } from '../../../lib/options/hooks.js';
import { createAlone } from '../../../lib/rendezvous/alone.js';
import type {
  BreakReason,
  Rendezvous,
  RendezvousEvent,
  Verdict,
} from '../../../lib/rendezvous/rendezvous.js';
import { traceOf } from '../trace.js';
import { violations } from './invariants.js';

const separator = '----\n';
const folder = join(process.cwd(), 'test/agent/scenarios');

for (const name of readdirSync(folder)) {
  const path = join(folder, name);
  const [script = '', expected = ''] = readFileSync(path, 'utf8').split(separator);
  const why = script
    .split('\n')
    .filter(line => line.startsWith('#'))
    .map(line => line.slice(2))
    .join(' ');

  t.test(`scenario ${name}: ${why}`, t => {
    const trace = `${traceOf(script)}\n`;

    // REGROUP_UPDATE=1 rewrites the traces, for review.
    if (process.env.REGROUP_UPDATE === '1') writeFileSync(path, script + separator + trace);
    else t.equal(trace, expected);
    t.end();
  });
}

interface Seen {
  readonly before: AgentState;
  readonly happening: Happening;
  readonly state: AgentState;
  readonly actions: readonly Action[];
  readonly nowMs: number;
}

const nproc = 3;
const maxRestarts = 2;
const graceMs = 1000;
const preemption = { preemptSignal: 'SIGUSR1', preemptLimitMs: 500 };

const failure: WorkerFailure = {
  rank: 0,
  localRank: 0,
  pid: 0,
  exit: { how: 'exited', code: 1 },
  exitcode: 1,
  cause: 'own',
  duringStop: false,
  durationMs: 1,
  message: '',
  traceback: '',
  timestamp: 0,
  host: 'node-a',
};

const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.constant<Happening>({ event: 'launch' }),
  fc.record(
    { event: fc.constant('prepared' as const), round: fc.nat(3), error: fc.constant('why') },
    { requiredKeys: ['event', 'round'] },
  ),
  fc.record({
    event: fc.constant('started' as const),
    round: fc.nat(3),
    atMs: fc.nat(100),
    masterAddr: fc.constant('::1'),
    masterPort: fc.constant(1),
    rendezvousMs: fc.constant(0),
    workers: fc.constant(
      Array.from({ length: nproc }, (_, rank) => ({
        identity: { rank, localRank: rank, pid: rank },
        startedAtMs: 0,
      })),
    ),
  }),
  fc.record({
    event: fc.constant('start-failed' as const),
    round: fc.nat(3),
    error: fc.constant('why'),
  }),
  fc.record({
    event: fc.constantFrom('exited' as const, 'dying' as const),
    round: fc.nat(3),
    atMs: fc.nat(10_000),
    localRank: fc.nat(nproc),
    exit: fc.oneof(
      fc.record({ how: fc.constant('exited' as const), code: fc.constantFrom(0, 0, 1) }),
      fc.record({
        how: fc.constant('signaled' as const),
        signal: fc.constant('SIGTERM'),
        signalNumber: fc.constant(15),
        coreDumped: fc.boolean(),
      }),
    ),
  }),
  fc.record({
    event: fc.constant('group-ended' as const),
    round: fc.nat(3),
    atMs: fc.nat(10_000),
    stuck: fc.constant([]),
    strays: fc.array(fc.constant({ pid: 1, command: 'sleep' }), { maxLength: 1 }),
    left: fc.constant([]),
    progress: fc.nat(3),
  }),
  fc.record({
    event: fc.constant('described' as const),
    round: fc.nat(3),
    failures: fc.constant([failure]),
  }),
  fc.constant<Happening>({ event: 'notice', by: 'file' }),
  fc.constant<Happening>({ event: 'forward', signal: 'SIGUSR2' }),
  fc.record(
    {
      event: fc.constant('round-broken' as const),
      round: fc.nat(3),
      because: fc.constantFrom<BreakReason>(
        'peer-failure',
        'peer-lost',
        'membership',
        'ordered',
        'fenced',
      ),
      atMs: fc.nat(100),
    },
    { requiredKeys: ['event', 'round', 'because'] },
  ),
  fc.record({
    event: fc.constant('verdict' as const),
    round: fc.nat(3),
    verdict: fc.constantFrom<Verdict>(
      { do: 'end' },
      { do: 'fail', because: 'no-restarts-left', failures: [failure] },
      { do: 'fail', because: 'no-restarts-left', failures: [failure], awaitsPeers: true },
    ),
  }),
  fc.constant<Happening>({ event: 'peers-ended', failures: [failure] }),
  fc.record({
    event: fc.constantFrom('preempt-limit' as const, 'half-grace' as const),
    round: fc.nat(3),
  }),
  fc.record(
    {
      event: fc.constant('pause-over' as const),
      round: fc.nat(3),
      pause: fc.constantFrom('back-off' as const, 'gpus' as const, ...hookNames),
      problem: fc.constant('exited with code 1'),
    },
    { requiredKeys: ['event', 'round', 'pause'] },
  ),
  fc.record(
    {
      event: fc.constant('stop' as const),
      by: fc.constantFrom('signal' as const, 'caller' as const),
      signal: fc.constantFrom('SIGTERM', 'SIGINT', 'SIGKILL'),
    },
    { requiredKeys: ['event', 'by'] },
  ),
);

const plain: FailurePolicy = { maxRestarts, rules: [], resetOnProgress: false };
const withPauses: FailurePolicy = { ...plain, backOff: { firstMs: 100, maxMs: 1000 } };
const policies: readonly (Policy & {
  readonly failures: FailurePolicy;
  readonly hasPeers?: true;
})[] = [
  { failures: plain, graceMs, ...preemption },
  { failures: withPauses, graceMs, ...preemption },
  { failures: plain, graceMs, ...preemption, hooks: ['pre-stop'] },
  { failures: withPauses, graceMs, ...preemption, hooks: hookNames },
  { failures: withPauses, graceMs, ...preemption, hooks: hookNames, waitsForGpus: true },
  { failures: plain, graceMs, ...preemption, hasPeers: true },
  { failures: withPauses, graceMs, ...preemption, hooks: hookNames, hasPeers: true },
];

/** Other nodes, which form a round whenever this one joins, and decide by its report alone. */
function createPeers(tell: (event: RendezvousEvent) => void): Rendezvous {
  let coming = 0;
  const place = { groupRank: 0, groupWorldSize: 2, firstRank: 0, worldSize: 2 * nproc };
  return {
    join() {
      const round = coming++;
      tell({ event: 'round-formed', round, restartCount: round, place });
    },
    report: ({ round }) =>
      tell({
        event: 'verdict',
        round,
        verdict:
          round < maxRestarts
            ? { do: 'restart', round: coming, delayMs: 0, restartsLeft: 1, maxRestarts }
            : { do: 'fail', because: 'no-restarts-left', awaitsPeers: true },
      }),
    succeed: round => tell({ event: 'verdict', round, verdict: { do: 'end' } }),
    announce() {},
    leave() {},
    conclude: failures => tell({ event: 'peers-ended', failures }),
  };
}

function isOfPeers(event: Happening['event']): boolean {
  return ['round-broken', 'verdict', 'peers-ended'].includes(event);
}

/** What happens, with the time since the last, and how many other things happen before the rendezvous answers. */
type Story = readonly (readonly [next: Happening, afterMs: number, answersAfter?: number])[];

function play({ failures, hasPeers, ...policy }: (typeof policies)[number], story: Story): Seen[] {
  const answers: { readonly event: RendezvousEvent; wait: number }[] = [];
  const seen: Seen[] = [];
  let state = initialState(policy);
  let nowMs = 0;
  let answersAfter = 0;
  const answer = (event: RendezvousEvent) => answers.push({ event, wait: answersAfter });
  const rendezvous = hasPeers ? createPeers(answer) : createAlone(failures, nproc, answer);

  function follow(next: Happening): void {
    const before = state;
    const [after, actions] = step(state, next, nowMs);
    state = after;
    seen.push({ before, happening: next, state, actions, nowMs });
    for (const action of actions) {
      if (action.do === 'begin-pause' && action.pause.name === 'join') rendezvous.join();
      if (action.do === 'report') rendezvous.report(action.report);
      if (action.do === 'succeed') rendezvous.succeed(action.round);
      if (action.do === 'conclude') rendezvous.conclude(action.failures);
    }
    while (answers[0]?.wait === 0) {
      const [answer] = answers.splice(0, 1);
      if (answer !== undefined) follow(answer.event);
    }
  }

  for (const [next, afterMs, wait = 0] of story) {
    if (!hasPeers && isOfPeers(next.event)) continue;
    nowMs += afterMs;
    answersAfter = wait;
    follow(next);
    for (const answer of answers) answer.wait = Math.max(0, answer.wait - 1);
  }
  return seen;
}

const story = fc.array(fc.tuple(happening, fc.nat(2000), fc.nat(2)), { maxLength: 40 });

function holds(title: string, property: (seen: readonly Seen[]) => boolean): void {
  t.test(title, t => {
    fc.assert(
      fc.property(fc.constantFrom(...policies), story, (policy, happenings) => {
        const launch: readonly [Happening, number] = [{ event: 'launch' }, 0];
        return property(play(policy, [launch, ...happenings]));
      }),
      { numRuns: 2000 },
    );
    t.pass('for 2,000 sequences of events');
    t.end();
  });
}

holds('restarts and training share the time, and the phases of each restart add up', seen => {
  let clock = startClock(true);
  for (const { before, happening, state, actions, nowMs } of seen) {
    for (const moment of momentsOf(before, happening, [state, [...actions]], nowMs)) {
      const [next, told] = tick(clock, moment);
      clock = next;
      for (const { phases, totalMs } of told) {
        const each = Object.values(phases);
        if (each.some(ms => ms < 0)) return false;
        if (each.reduce((sum, ms) => sum + ms, 0) !== totalMs) return false;
      }
    }
  }
  const lastMs = seen.at(-1)?.nowMs ?? 0;
  const summary = summaryOf(clock, lastMs);
  return summary === undefined || summary.lostMs + summary.trainedMs <= summary.wallMs;
});

const actionsOf = (seen: readonly Seen[]): Action[] => seen.flatMap(({ actions }) => actions);

holds('every state keeps its invariants', seen =>
  seen.every(({ state }) => {
    const [wrong] = violations(state);
    if (wrong !== undefined) throw new Error(wrong);
    return true;
  }),
);

holds('nothing is done after the end', seen => {
  const end = seen.findIndex(({ state }) => state.phase === 'ended');
  return end < 0 || seen.slice(end + 1).every(({ actions }) => actions.length === 0);
});

holds('finishing is the last action, and there is one', seen => {
  const actions = actionsOf(seen);
  const at = actions.findIndex(action => action.do === 'finish');
  return at < 0 || at === actions.length - 1;
});

holds('the time of SIGKILL never moves back', seen => {
  const deadlines = new Map<number, number>();
  return seen.every(({ actions, nowMs }) =>
    actions.every(action => {
      if (action.do !== 'stop-group') return true;
      const before = deadlines.get(action.round) ?? Number.POSITIVE_INFINITY;
      const killAtMs = nowMs + action.graceMs;
      deadlines.set(action.round, killAtMs);
      // A deadline that has passed can't come earlier.
      return killAtMs <= Math.max(before, nowMs);
    }),
  );
});

const isGrowing = (rounds: readonly number[]): boolean =>
  rounds.every((round, index) => index === 0 || round > (rounds[index - 1] as number));

/** Rounds that end for what happens elsewhere cost nothing. */
function mayStart(seen: readonly Seen[]): number {
  const hasPeers = seen.some(({ state }) => 'place' in state && state.place.groupWorldSize > 1);
  return hasPeers ? Number.POSITIVE_INFINITY : maxRestarts + 1;
}

holds('each round is started once and released once, in order, and within the budget', seen => {
  const actions = actionsOf(seen);
  const started = actions.flatMap(action => (action.do === 'start-round' ? [action.round] : []));
  const released = actions.flatMap(action => (action.do === 'release-round' ? [action.round] : []));
  const isOver = seen.at(-1)?.state.phase === 'ended';
  return (
    isGrowing(started) &&
    started.length <= mayStart(seen) &&
    isGrowing(released) &&
    (!isOver || released.length === started.length)
  );
});

holds(
  'a round that was prepared is started or discarded, unless it is still being decided',
  seen => {
    const actions = actionsOf(seen);
    const isOver = seen.at(-1)?.state.phase === 'ended';
    return actions.every(action => {
      if (action.do !== 'prepare-round') return true;
      const settled = actions.filter(
        other =>
          (other.do === 'start-round' && other.round === action.plan.round) ||
          (other.do === 'discard-round' && other.plan.round === action.plan.round),
      );
      return settled.length === 1 || (settled.length === 0 && !isOver);
    });
  },
);

t.test('whatever it is doing, what breaks ends the run, once', t => {
  const broken: readonly [Happening, number] = [{ event: 'broken', error: 'why' }, 0];
  fc.assert(
    fc.property(fc.constantFrom(...policies), story, (policy, happenings) => {
      const seen = play(policy, [[{ event: 'launch' }, 0], ...happenings, broken, broken]);
      const finished = actionsOf(seen).filter(action => action.do === 'finish');
      return seen.at(-1)?.state.phase === 'ended' && finished.length === 1;
    }),
    { numRuns: 2000 },
  );
  t.pass('for 2,000 sequences of events');
  t.end();
});

holds('only a running or starting group is told to stop', seen => {
  const live = new Set<number>();
  return actionsOf(seen).every(action => {
    if (action.do === 'start-round') live.add(action.round);
    if (action.do === 'release-round') live.delete(action.round);
    return action.do !== 'stop-group' || live.has(action.round);
  });
});

holds('what waits for a pause has one under way, and nothing is started before it ends', seen => {
  let paused = false;
  return seen.every(({ state, actions }) => {
    for (const action of actions) {
      if (action.do === 'begin-pause') paused = true;
      if (action.do === 'end-pause') paused = false;
      // The hook before a stop.
      if (action.do === 'stop-group') paused = false;
    }
    // In the step in which a pause is over, its successor begins.
    if (['preparing', 'starting', 'ended'].includes(state.phase)) paused = false;
    const waits = ['joining', 'after'].includes(state.phase);
    return paused === (waits || (state.phase === 'stopping' && state.holding !== undefined));
  });
});
