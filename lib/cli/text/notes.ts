import { unreachable } from '../../util/unreachable.js';
import type { logLevels } from '../line/settings.js';
import {
  describeDoor,
  describeLeftOut,
  describeProcesses,
  describeRefusal,
  describeStandbys,
  describeTrouble,
  describeUnreachable,
  type Event,
} from './describe.js';

/** What a log line says beside the story of a run. */
export interface Note {
  readonly level: keyof typeof logLevels;
  readonly text: string;
}

/** Events that are one line of the log each, at a level of their own, whatever came before. */
type Noted = Event<
  | 'hang-rules-blind'
  | 'strays-killed'
  | 'strays-left'
  | 'output-trouble'
  | 'hook-failed'
  | 'unguarded'
  | 'ungrouped'
  | 'store-trouble'
  | 'connect-refused'
  | 'store-unreachable'
  | 'node-unreachable'
  | 'node-left-out'
  | 'standbys-ready'
  | 'standbys-taken'
  | 'standby-trouble'
  | 'imports-not-kept'
  | 'placement-trouble'
  | 'error-file-trouble'
  | 'timers-trouble'
  | 'door-open'
  | 'door-trouble'
  | 'events-trouble'
  | 'metrics-trouble'
  | 'store-used'
  | 'ended'
>;

/**
 * @param run its workers' role, and whether its first round has started
 * @returns undefined for what nobody is told of in words
 */
export function noteOf(
  event: Noted,
  { role, hasStarted }: { readonly role: string; readonly hasStarted: boolean },
): Note | undefined {
  switch (event.event) {
    case 'hang-rules-blind': {
      const { worker, path, reason } = event;
      return warning(`hang rules can't see worker ${worker.rank}'s output: ${path} ${reason}`);
    }
    case 'strays-killed':
      return warning(`killed what workers had left behind: ${describeProcesses(event.processes)}`);
    case 'strays-left': {
      const text = `left alone what workers had started: ${describeProcesses(event.processes)}`;
      return { level: 'INFO', text };
    }
    case 'output-trouble':
      return warning(describeTrouble(event));
    case 'hook-failed':
      return warning(`the ${event.hook} hook of round ${event.round} ${event.reason}`);
    case 'unguarded':
      return warning(
        `no guardian (${event.reason}): should regroup be killed, what its workers have started may live on`,
      );
    case 'ungrouped': {
      const text = `no cgroup for workers (${event.reason}): what leaves their sessions and clears its environment isn't found`;
      return { level: 'DEBUG', text };
    }
    case 'store-trouble':
      return warning(`store: ${event.line}`);
    case 'connect-refused':
      return warning(describeRefusal(event));
    case 'store-unreachable':
    case 'node-unreachable':
      return warning(describeUnreachable(event));
    case 'node-left-out':
      return warning(describeLeftOut(event));
    case 'standbys-ready': {
      const text = `[${role}] ${describeStandbys(event, hasStarted)}`;
      return { level: 'INFO', text };
    }
    case 'standbys-taken':
      return { level: 'INFO', text: `[${role}] round ${event.round} starts from standbys` };
    case 'standby-trouble':
      return warning(`${hasStarted ? 'restart' : 'start'} without standby: ${event.reason}`);
    case 'imports-not-kept':
      return warning(`the list of the script's imports is not kept: ${event.reason}`);
    case 'placement-trouble':
    case 'error-file-trouble':
    case 'timers-trouble':
      return warning(event.reason);
    case 'door-open':
    case 'door-trouble': {
      const [level, text] = describeDoor(event);
      return { level, text };
    }
    case 'events-trouble':
      return warning(describeEventsTrouble(event));
    case 'metrics-trouble':
      return warning(`metrics are not served at ${event.address}: ${event.reason}`);
    case 'ended':
      return { level: 'INFO', text: `[${role}] worker group ${event.outcome}` };
    case 'store-used':
      return undefined;
    default:
      return unreachable(event);
  }
}

function warning(text: string): Note {
  return { level: 'WARNING', text };
}

function describeEventsTrouble({ path, code, lostRecords }: Event<'events-trouble'>): string {
  const why: Readonly<Record<string, string>> = {
    ETIMEDOUT: 'it takes nothing, or too slowly',
    ENOBUFS: 'it takes less than there is',
    ENXIO: 'nobody reads the pipe',
  };
  const lost = lostRecords > 0 ? `; ${lostRecords} are lost so far` : '';
  return `events can't be recorded in ${path || 'the folder of the logs'}: ${why[code] ?? code}${lost}`;
}
