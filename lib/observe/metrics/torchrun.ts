import type { MetricsState } from './reduce.js';

type Pairs = readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];

/** What the metrics of torchrun need. */
export interface TorchrunSurroundings {
  state(): MetricsState;
  gauge(name: string, help: string, labels: readonly string[], pairs: () => Pairs): void;
}

/**
 * torchrun's metrics: `workers.<role>.<name>` is `torchelastic_workers_<name>{role="<role>"}`, and
 * `<Class>.<method>.duration.ms` is `torchelastic_duration_ms{method="<Class>.<method>"}`. Those of a run's end are there from the end on.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/agent/server/api.py, _invoke_run and _record_metrics
 */
export function exposeTorchrun(role: string, { state, gauge }: TorchrunSurroundings): void {
  const ofWorkers = (
    name: string,
    help: string,
    value: (state: MetricsState) => number | undefined,
  ) =>
    gauge(`torchelastic_workers_${name}`, help, ['role'], () => {
      const now = value(state());
      return now === undefined ? [] : [[{ role }, now]];
    });
  const started = (now: MetricsState): boolean => now.round !== undefined;
  const failed = (now: MetricsState): boolean => now.outcome === 'failed';

  ofWorkers('remaining_restarts', 'Restarts that are left.', now =>
    started(now) ? now.restartsLeft : undefined,
  );
  ofWorkers('healthy', 'Workers run.', now =>
    started(now) && now.outcome === undefined ? 1 : undefined,
  );
  ofWorkers('succeeded', 'All have ended well.', now =>
    now.outcome === 'succeeded' ? 1 : undefined,
  );
  ofWorkers('failed', 'They have not.', now => (failed(now) ? 1 : undefined));
  ofWorkers('flakiness', 'Share of the restarts that the run took, in percent.', flakinessOf);

  const ended = (name: string, help: string, is: (now: MetricsState) => boolean): void =>
    ofWorkers(name, help, now => (hasResult(now) ? Number(is(now)) : undefined));
  const retried = ({ restartsLeft, maxRestarts }: MetricsState): boolean =>
    restartsLeft !== maxRestarts;
  ended('run_total', 'The run has ended.', () => true);
  ended('run_success_with_retries', 'Well, with restarts.', now => !failed(now) && retried(now));
  ended('run_success_no_retries', 'Well, without.', now => !failed(now) && !retried(now));
  ended('run_failed_with_retries', 'It failed, with restarts.', now => failed(now) && retried(now));
  ended('run_failed_no_retries', 'It failed, without.', now => failed(now) && !retried(now));

  gauge('torchelastic_duration_ms', 'How long the last call took.', ['method'], () => {
    const { round } = state();
    return round === undefined
      ? []
      : [[{ method: 'SimpleElasticAgent._rendezvous' }, Math.trunc(round.rendezvousMs)]];
  });
}

function flakinessOf(now: MetricsState): number | undefined {
  if (!hasResult(now)) return undefined;
  if (now.outcome === 'failed') return 100;
  return Math.trunc(100 - (100 * (now.restartsLeft + 1)) / (now.maxRestarts + 1));
}

/** Of a run that a signal has ended torchrun tells nothing. */
function hasResult({ outcome }: MetricsState): boolean {
  return outcome === 'succeeded' || outcome === 'failed';
}
