import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Measures } from '../../events/recorder.js';
import type { AgentEvent, WorkerIdentity } from '../../events.js';
import { newestBeat } from '../../hangs/beats.js';
import {
  type Goodput,
  goodputOf,
  type MetricsState,
  reduceMetrics,
  startMetrics,
} from './reduce.js';
import { exposeTorchrun } from './torchrun.js';

/** Metrics of one run, as Prometheus reads them. */
export interface Exposition {
  /** The media type of `text`. */
  readonly contentType: string;
  event(event: AgentEvent): void;
  text(): Promise<string>;
}

export interface ExpositionSurroundings {
  readonly runId: string;
  readonly role: string;
  readonly node: string;
  readonly maxRestarts: number;
  /** What no event tells. */
  measure(): Measures;
  nowMs(): number;
}

/** Seconds; a restart takes some tens of milliseconds at least, and a rendezvous may take hours. */
const buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];

type Pairs = readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];

export function createExposition(around: ExpositionSurroundings): Exposition {
  const { nowMs } = around;
  const registry = new Registry();
  let state = startMetrics(around.maxRestarts, nowMs());
  let measures: Measures = {};
  let askedAtMs = nowMs();
  let workers: readonly WorkerIdentity[] = [];
  const look = {
    state: () => state,
    measures: () => measures,
    workers: () => workers,
    askedAtMs: () => askedAtMs,
  };

  gauge(registry, 'regroup_run_info', 'Which run this is.', ['run_id', 'node', 'role'], () => [
    [{ run_id: around.runId, node: around.node, role: around.role }, 1],
  ]);
  exposeRun(registry, look);
  exposeBeats(registry, look);
  exposeStore(registry, look);
  exposeAgent(registry, look);
  exposeTorchrun(around.role, {
    gauge: (name, help, labels, pairs) => gauge(registry, name, help, labels, pairs),
    state: () => state,
  });
  const observe = histograms(registry);

  return {
    contentType: registry.contentType,
    event(event) {
      const [next, observations] = reduceMetrics(state, event);
      state = next;
      for (const each of observations) observe(each);
      if (event.event === 'round-started') workers = event.workers;
    },
    text() {
      measures = around.measure();
      askedAtMs = nowMs();
      return registry.metrics();
    },
  };
}

interface Look {
  state(): MetricsState;
  measures(): Measures;
  /** This node's, of the present round. */
  workers(): readonly WorkerIdentity[];
  /** When the text was asked for: one moment for all of it. */
  askedAtMs(): number;
}

function exposeRun(registry: Registry, { state, askedAtMs }: Look): void {
  const goodput = (): Goodput => goodputOf(state(), askedAtMs());
  gauge(registry, 'regroup_workers', "This node's workers of the present round.", ['state'], () => {
    const counts = { running: 0, dying: 0, succeeded: 0, failed: 0, stopped: 0 };
    for (const each of state().workers.values()) counts[each]++;
    return labelled('state', counts);
  });
  gauge(registry, 'regroup_world_size', 'Workers of the present round, on all nodes.', [], () =>
    single(state().round?.worldSize),
  );
  gauge(registry, 'regroup_nodes', 'Nodes of the present round.', [], () =>
    single(state().round?.groupWorldSize),
  );
  gauge(registry, 'regroup_round', 'Number of the present round.', [], () =>
    single(state().round?.round),
  );
  counter(registry, 'regroup_rounds_total', 'Rounds that have started here.', [], () =>
    single(state().rounds),
  );
  counter(registry, 'regroup_restarts_total', 'Rounds that have followed another.', ['cause'], () =>
    labelled('cause', state().restarts),
  );
  gauge(registry, 'regroup_restarts_left', 'Failures that are still answered by a round.', [], () =>
    single(state().restartsLeft),
  );
  counter(registry, 'regroup_worker_exits_total', 'Ends of workers.', ['state'], () =>
    labelled('state', state().exits),
  );
  counter(registry, 'regroup_hangs_total', 'Workers that a hang rule has found.', ['rule'], () =>
    labelled('rule', state().hangs),
  );
  gauge(registry, 'regroup_standbys', 'Interpreters that wait for the next round.', [], () =>
    single(state().standbys),
  );
  gauge(registry, 'regroup_preempting', 'Whether a notice of preemption has come.', [], () =>
    single(Number(state().isPreempted)),
  );
  counter(registry, 'regroup_output_lost_lines_total', "Workers' lines that no file got.", [], () =>
    single(sumOf(state().lostLines)),
  );
  counter(registry, 'regroup_events_lost_total', 'Records of events that no file got.', [], () =>
    single(sumOf(state().lostRecords)),
  );
  gauge(registry, 'goodput_time', 'Seconds in which the workers trained.', [], () =>
    single(goodput().goodMs / 1000),
  );
  gauge(
    registry,
    'badput_time',
    'Seconds in which they did not, by what took them.',
    ['type'],
    () => labelled('type', goodput().badMs).map(([labels, ms]) => [labels, ms / 1000]),
  );
  gauge(registry, 'total_elapsed_time', 'Seconds since the launch.', [], () =>
    single(goodput().totalMs / 1000),
  );
}

function exposeBeats(registry: Registry, { state, measures, workers, askedAtMs }: Look): void {
  const isAlive = ({ localRank }: WorkerIdentity): boolean =>
    ['running', 'dying'].includes(state().workers.get(localRank) ?? '');
  gauge(
    registry,
    'regroup_heartbeat_age_seconds',
    'Since the last heartbeat that a worker has told.',
    ['rank'],
    () => {
      const { slots = [] } = measures();
      return workers()
        .filter(isAlive)
        .flatMap(worker => {
          const beat = newestBeat(slots, worker, workers());
          if (beat === 'none') return [];
          return [[{ rank: String(worker.rank) }, (askedAtMs() - beat.atMs) / 1000] as const];
        });
    },
  );
}

function exposeStore(registry: Registry, { measures }: Look): void {
  const ofStore = (
    name: string,
    help: string,
    value: (store: NonNullable<Measures['store']>) => number,
  ): void => {
    const make = name.endsWith('_total') ? counter : gauge;
    make(registry, name, `${help} Of the present round's store.`, [], () => {
      const { store } = measures();
      return single(store && value(store));
    });
  };
  const operations = "Requests that were answered, or wait. Of the present round's store.";
  counter(registry, 'regroup_store_operations_total', operations, ['operation'], () =>
    labelled('operation', measures().store?.operations ?? {}),
  );
  ofStore('regroup_store_clients', 'Connections.', store => store.clients);
  ofStore('regroup_store_lanes', 'Connections at shared memory.', store => store.lanes);
  ofStore('regroup_store_keys', 'Keys.', store => store.keys);
  ofStore('regroup_store_waiters', 'Clients that wait for a key.', store => store.waiters);
  ofStore('regroup_store_bytes', 'Bytes of keys, values and waiters.', store => store.bytes);
  ofStore('regroup_store_received_bytes_total', 'Bytes received.', store => store.bytesIn);
  ofStore('regroup_store_sent_bytes_total', 'Bytes sent.', store => store.bytesOut);
  ofStore('regroup_store_accepted_total', 'Connections so far.', store => store.accepted);
  ofStore('regroup_store_refused_total', 'Connections refused.', store => store.refused);
  ofStore('regroup_store_faults_total', 'Clients closed for a fault.', store => store.faults);
}

/** The agent's own, by the names that Prometheus's clients have for them. */
function exposeAgent(registry: Registry, { measures }: Look): void {
  gauge(
    registry,
    'regroup_lease_age_seconds',
    "Since the last renewal of this node's lease.",
    [],
    () => {
      const { leaseAgeMs } = measures();
      return single(leaseAgeMs === undefined ? undefined : leaseAgeMs / 1000);
    },
  );
  counter(registry, 'process_cpu_seconds_total', 'CPU time of the agent.', [], () => {
    const { user, system } = process.cpuUsage();
    return single((user + system) / 1e6);
  });
  gauge(registry, 'process_resident_memory_bytes', 'Memory of the agent.', [], () =>
    single(process.memoryUsage.rss()),
  );
  const startedAt = Date.now() / 1000 - process.uptime();
  gauge(registry, 'process_start_time_seconds', 'Unix time of its start.', [], () =>
    single(startedAt),
  );
}

function histograms(
  registry: Registry,
): (observation: ReturnType<typeof reduceMetrics>[1][number]) => void {
  const made = (name: string, help: string, labelNames: string[]) =>
    new Histogram({ name, help, labelNames, buckets, registers: [registry] });
  const rendezvous = made('regroup_rendezvous_seconds', 'How long each rendezvous took.', []);
  const restart = made('regroup_restart_seconds', 'How long each restart took.', ['cause']);
  const phase = made('regroup_restart_phase_seconds', 'The same, by phase.', ['phase']);
  return observation => {
    const { of, seconds } = observation;
    if (of === 'rendezvous') rendezvous.observe(seconds);
    else if (of === 'restart') restart.observe({ cause: observation.cause }, seconds);
    else phase.observe({ phase: observation.phase }, seconds);
  };
}

type Exposed = (
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly string[],
  pairs: () => Pairs,
) => void;

/** A gauge that's read when somebody asks. */
const gauge = readWhenAsked(Gauge);
/** A counter that somebody else counts. */
const counter = readWhenAsked(Counter);

function readWhenAsked(Metric: typeof Gauge | typeof Counter): Exposed {
  return (registry, name, help, labelNames, pairs) => {
    new Metric({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect(this: Gauge | Counter) {
        this.reset();
        // Without labels a reset leaves a zero, where there may be nothing to tell.
        if (labelNames.length === 0) this.remove();
        for (const [labels, value] of pairs()) this.inc(labels, value);
      },
    });
  };
}

function labelled(name: string, values: Readonly<Partial<Record<string, number>>>): Pairs {
  return Object.entries(values).map(([label, value = 0]) => [{ [name]: label }, value]);
}

function single(value: number | undefined): Pairs {
  return value === undefined ? [] : [[{}, value]];
}

function sumOf(values: ReadonlyMap<string, number>): number {
  return [...values.values()].reduce((sum, each) => sum + each, 0);
}
