import type { AgentEvent, WorkerIdentity } from '../events.js';
import type { NativeEvent } from '../native/events.js';
import { describeErrno } from '../util/errno.js';

/** What the core tells of itself, and not of the workers' lives. */
type CoreTrouble = Extract<NativeEvent, { event: 'unguarded' | 'ungrouped' | 'output-trouble' }>;

/** The same for people; undefined if it's of a worker that nobody knows. */
export function troubleOf(
  event: CoreTrouble,
  workers: readonly WorkerIdentity[],
): AgentEvent | undefined {
  const { atMs } = event;
  const { code } = describeErrno(event.errno);
  switch (event.event) {
    case 'unguarded':
      return { event: 'unguarded', reason: `${event.syscall}: ${code}`, atMs };
    case 'ungrouped': {
      const reason = event.path === '' ? 'no hierarchy is mounted' : `${event.path}: ${code}`;
      return { event: 'ungrouped', reason, atMs };
    }
    case 'output-trouble': {
      const worker = workers[event.index];
      const { path, droppedLines } = event;
      return worker && { event: 'output-trouble', worker, path, code, droppedLines, atMs };
    }
  }
}
