import t from 'tap';
import type { AgentEvent } from '../../../lib/events.js';
import { createExposition } from '../../../lib/observe/metrics/expose.js';
import { parseExposition } from './exposition.js';

const store = {
  clients: 2,
  lanes: 1,
  keys: 3,
  waiters: 1,
  bytes: 99,
  accepted: 4,
  refused: 0,
  faults: 0,
  bytesIn: 10,
  bytesOut: 20,
  highestStep: 0,
  operations: { SET: 5, WAIT: 1 },
  dialects: {},
  hotKeys: [],
};

/** A client that has told two heartbeats, the last one at 9,500 ms. */
const beaten = (pid: number, rank: number) => ({
  pid,
  rank,
  beats: 2,
  beatAtMs: 9500,
  step: 3,
  phase: 0,
});

function exposition(maxRestarts = 2, nowMs = () => 10_000) {
  return createExposition({
    runId: 'a "quoted"\\\nrun',
    role: 'trainer',
    node: 'n',
    maxRestarts,
    measure: () => ({ store, leaseAgeMs: 250, slots: [beaten(100, 0), beaten(101, 1)] }),
    nowMs,
  });
}

const roundStarted: AgentEvent = {
  event: 'round-started',
  round: 1,
  restartCount: 1,
  masterAddr: '127.0.0.1',
  masterPort: 1,
  groupRank: 0,
  groupWorldSize: 1,
  worldSize: 2,
  workers: [0, 1].map(rank => ({ rank, localRank: rank, pid: 100 + rank })),
  rendezvousMs: 30,
  atMs: 9000,
};

const restarted: AgentEvent = {
  event: 'restarted',
  round: 1,
  cause: 'failure',
  totalMs: 70,
  phases: { stopped: 40, rendezvous: 30 },
  atMs: 9000,
};

t.test(
  '18.2: before the first round there is nothing to tell of one, and all is well formed',
  async t => {
    const families = parseExposition(await exposition().text());

    t.strictSame([...(families.get('regroup_world_size')?.samples ?? [])], []);
    t.strictSame(
      [...(families.get('regroup_rounds_total')?.samples ?? [])],
      [['regroup_rounds_total', 0]],
    );
    t.equal(families.get('badput_time')?.samples.get('badput_time{type="first_start"}'), 0);
    t.strictSame(
      [...(families.get('regroup_run_info')?.samples.keys() ?? [])],
      ['regroup_run_info{run_id="a \\"quoted\\"\\\\\\nrun",node="n",role="trainer"}'],
    );
  },
);

t.test('18.2: a restart is in each of its figures', async t => {
  const { event, text } = exposition();
  event(roundStarted);
  event(restarted);

  const families = parseExposition(await text());
  const samples = new Map([...families.values()].flatMap(family => [...family.samples]));

  const expected = {
    'regroup_workers{state="running"}': 2,
    'regroup_workers{state="failed"}': 0,
    'regroup_restarts_total{cause="failure"}': 1,
    regroup_restarts_left: 1,
    regroup_round: 1,
    'regroup_restart_seconds_count{cause="failure"}': 1,
    'regroup_restart_phase_seconds_sum{phase="stopped"}': 0.04,
    'regroup_restart_phase_seconds_bucket{le="0.025",phase="stopped"}': 0,
    'regroup_restart_phase_seconds_bucket{le="0.05",phase="stopped"}': 1,
    regroup_rendezvous_seconds_count: 1,
    'regroup_store_operations_total{operation="SET"}': 5,
    regroup_store_waiters: 1,
    regroup_lease_age_seconds: 0.25,
    'regroup_heartbeat_age_seconds{rank="0"}': 0.5,
    'badput_time{type="stopped"}': 0.04,
    goodput_time: 1,
    total_elapsed_time: 0,
  };
  for (const [name, value] of Object.entries(expected)) t.equal(samples.get(name), value, name);
  t.ok((samples.get('process_cpu_seconds_total') ?? 0) > 0);
  t.ok((samples.get('process_resident_memory_bytes') ?? 0) > 10_000_000);
});

t.test('18.2: where the time has gone adds up, although it passes meanwhile', async t => {
  let now = 0;
  const { event, text } = exposition(2, () => {
    now += 500;
    return now;
  });
  event({ ...roundStarted, atMs: 700 });

  const families = parseExposition(await text());

  const sum = (name: string): number =>
    [...(families.get(name)?.samples.values() ?? [])].reduce((total, each) => total + each, 0);
  t.ok(sum('goodput_time') > 0);
  t.equal(sum('goodput_time') + sum('badput_time'), sum('total_elapsed_time'));
});

t.test('L-096: what torchrun tells of workers is told by its names', async t => {
  const { event, text } = exposition(3);
  event(roundStarted);
  const running = theirs(await text());
  event({ event: 'ended', outcome: 'succeeded', atMs: 9500 });
  const succeeded = theirs(await text());

  t.strictSame(running, { duration_ms: 30, remaining_restarts: 2, healthy: 1 });
  // int(100 - 100 * (2 + 1) / (3 + 1))
  t.strictSame(succeeded, {
    duration_ms: 30,
    remaining_restarts: 2,
    succeeded: 1,
    flakiness: 25,
    run_total: 1,
    run_success_with_retries: 1,
    run_success_no_retries: 0,
    run_failed_with_retries: 0,
    run_failed_no_retries: 0,
  });
});

function theirs(text: string): Record<string, number> {
  const all = [...parseExposition(text)].filter(([name]) => name.startsWith('torchelastic_'));
  const found: Record<string, number> = {};
  for (const [name, { samples }] of all.sort(([a], [b]) => (a < b ? -1 : 1)))
    for (const value of samples.values())
      found[name.replace(/^torchelastic_(workers_)?/, '')] = value;
  return found;
}

t.test('a text that is no exposition is told from one', async t => {
  const wrong = [
    'a 1',
    'a 1\n',
    '# HELP a b\n# TYPE a gauge\na 1\na 1\n',
    '# HELP a b\n# TYPE a counter\na 1\n',
    '# HELP a b\n# TYPE a gauge\nb 1\n',
    '# HELP a b\n# TYPE a gauge\na{x=1} 1\n',
    '# HELP a b\n# TYPE a gauge\na undefined\n',
    '# HELP a b\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 2\n',
  ];
  for (const text of wrong) t.throws(() => parseExposition(text), text);
});
