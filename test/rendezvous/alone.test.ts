import t from 'tap';
import type { WorkerFailure } from '../../lib/events.js';
import type { FailurePolicy } from '../../lib/options/failures.js';
import { createAlone } from '../../lib/rendezvous/alone.js';
import type { FailureReport, RendezvousEvent } from '../../lib/rendezvous/rendezvous.js';

const place = { groupRank: 0, groupWorldSize: 1, firstRank: 0, worldSize: 4 };

function failure(code: number): WorkerFailure {
  return {
    rank: 1,
    localRank: 1,
    pid: 100,
    exit: { how: 'exited', code },
    exitcode: code,
    cause: 'own',
    duringStop: false,
    durationMs: 5,
    message: '',
    traceback: '',
    timestamp: 0,
    host: 'node-a',
  };
}

function reportOf(round: number, code = 1): FailureReport {
  const failed = { ranMs: 5, atMs: 100 * (round + 1), progress: 0, isStuck: false, chance: 0 };
  return { round, failures: [failure(code)], ...failed };
}

/** A job alone on its node, and what it was told. */
function alone(policy: Partial<FailurePolicy>) {
  const told: RendezvousEvent[] = [];
  const whole = { maxRestarts: 0, rules: [], resetOnProgress: false, ...policy };
  const rendezvous = createAlone(whole, 4, event => told.push(event));
  return { rendezvous, last: () => told.at(-1) };
}

t.test('whoever joins has a round at once, with all of the ranks', async t => {
  const { rendezvous, last } = alone({});

  rendezvous.join();

  t.strictSame(last(), { event: 'round-formed', round: 0, restartCount: 0, place });
});

t.test('a round that may be followed by another one says by which', async t => {
  const { rendezvous, last } = alone({ maxRestarts: 1 });

  rendezvous.join();
  t.match(last(), { round: 0, following: { round: 1, restartCount: 1, place } });
  rendezvous.report(reportOf(0));
  rendezvous.join();

  t.strictSame(last(), { event: 'round-formed', round: 1, restartCount: 1, place });
});

t.test('each failure spends a restart, until none is left', async t => {
  const { rendezvous, last } = alone({ maxRestarts: 1 });
  rendezvous.join();

  rendezvous.report(reportOf(0));
  const verdict = { do: 'restart', round: 1, delayMs: 0, restartsLeft: 0, maxRestarts: 1 };
  t.strictSame(last(), { event: 'verdict', round: 0, verdict });
  rendezvous.join();
  rendezvous.report(reportOf(1));

  t.match(last(), { round: 1, verdict: { do: 'fail', because: 'no-restarts-left' } });
});

t.test('a restart that a rule gives for nothing has a number of its own all the same', async t => {
  const rule = { exitCodes: [[3, 3]], action: 'restart-free', text: '3' } as const;
  const { rendezvous, last } = alone({ rules: [rule] });
  rendezvous.join();

  rendezvous.report(reportOf(0, 3));
  t.match(last(), { verdict: { do: 'restart', round: 1, restartsLeft: 0, rule: '3' } });
  rendezvous.join();

  t.match(last(), { round: 1, restartCount: 1 });
});

t.test('no round follows where a worker is stuck in the kernel', async t => {
  const { rendezvous, last } = alone({ maxRestarts: 3 });
  rendezvous.join();

  rendezvous.report({ ...reportOf(0), isStuck: true });

  t.match(last(), { verdict: { do: 'fail', because: 'node-unfit' } });
});

t.test('who joins after leaving has the round that nobody has started', async t => {
  const { rendezvous, last } = alone({});
  rendezvous.join();
  rendezvous.leave();

  rendezvous.join();

  t.match(last(), { event: 'round-formed', round: 0 });
});

t.test('a round that is asked for comes without a failure, and costs no restart', async t => {
  const { rendezvous, last } = alone({ maxRestarts: 1 });
  rendezvous.join();

  rendezvous.renew?.(0);
  t.strictSame(last(), { event: 'round-broken', round: 0, because: 'ordered' });
  rendezvous.join();
  t.match(last(), { round: 1, following: { round: 2 } });
  rendezvous.report(reportOf(1));

  t.match(last(), { verdict: { do: 'restart', round: 2, restartsLeft: 0 } });
});
