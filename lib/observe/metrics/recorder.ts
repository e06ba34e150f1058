import type { Recorder } from '../../events/recorder.js';
import type { MetricsAddress } from '../../options/observe/metrics.js';
import { hostname } from '../../system/hostname.js';
import { addressOf } from '../../util/address.js';
import type { Job } from '../../workers/job.js';
import type { RecorderSurroundings } from '../surroundings.js';
import { createExposition } from './expose.js';
import { serveMetrics } from './server.js';

const loopback = '127.0.0.1';

/** Serves a run's metrics from now to its end. */
export function metricsRecorder(
  job: Job,
  address: MetricsAddress,
  { tell, measure, nowMs }: RecorderSurroundings,
): Recorder {
  const { host = loopback, port } = address;
  const { runId, settings } = job;
  const { role, maxRestarts } = settings;
  const exposition = createExposition({
    runId,
    role,
    node: hostname(),
    maxRestarts,
    measure,
    nowMs,
  });
  const server = serveMetrics({ host: host === 'localhost' ? loopback : host, port }, exposition);
  const told = server.started.then(outcome => {
    const atMs = nowMs();
    if ('url' in outcome) tell({ event: 'metrics-served', url: outcome.url, atMs });
    else
      tell({
        event: 'metrics-trouble',
        address: addressOf(host, port),
        reason: outcome.reason,
        atMs,
      });
  });
  return {
    event: exposition.event,
    async ended() {
      await told;
      await server.close();
    },
  };
}
