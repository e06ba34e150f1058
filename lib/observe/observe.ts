import type { Recorder, RunEnding } from '../events/recorder.js';
import type { AgentEvent } from '../events.js';
import type { Job } from '../workers/job.js';
import type { RecorderSurroundings } from './surroundings.js';

/**
 * Whoever records a run as its options ask for; undefined where they don't, and then nothing of it is loaded. What has happened before it's
 * loaded is recorded then.
 */
export function recorderOf(job: Job, around: RecorderSurroundings): Recorder | undefined {
  const { events, eventLogHandler, metrics } = job.settings;
  if (events === undefined && eventLogHandler === 'null' && metrics === undefined) return undefined;

  const early: AgentEvent[] = [];
  let recorder: Recorder | undefined;
  const loading = import('./recorders.js').then(async ({ createRecorders }) => {
    recorder = await createRecorders(job, around);
    for (const event of early.splice(0)) recorder.event(event);
    return recorder;
  });
  loading.catch(() => {}); // as below

  return {
    event(event) {
      if (recorder === undefined) early.push(event);
      else recorder.event(event);
    },
    async ended(ending: RunEnding) {
      // Where it can't be loaded, what it needs isn't there: the run's own error says so.
      const loaded = await loading.catch(() => undefined);
      await loaded?.ended(ending);
    },
  };
}
