import { type Check, oneOf, text } from '../checks.js';

/** Who is told of torchrun's events. */
export type EventLogHandler = 'null' | 'console' | 'file';

/** Records of what happens to a run. */
export interface EventOptions {
  /**
   * File that gets each event as a line of JSON, and at the end how complete it is: `schema/events.schema.json` describes them. Lines are
   * appended. `logs`: `events.jsonl` in the folder of the run's logs. `${hostname}`, `${run_id}` and `${role_name}` are
   * replaced; nodes that share a disk need the first. Nobody waits for the file: where it takes less than there is, records are lost, and
   * counted. @default none
   */
  readonly events?: string;
  /**
   * What torchrun's handler of this name gets, by its names and fields: `console`, on stderr; `file`, in `torchelastic_events.jsonl` in the
   * folder of the run's logs. @default 'null'
   */
  readonly eventLogHandler?: EventLogHandler;
}

/** Names of the files in the folder of a run's logs. */
export const eventsFile = 'events.jsonl';
export const torchrunFile = 'torchelastic_events.jsonl';

export const eventDefaults = { eventLogHandler: 'null' } as const;

export const eventChecks: Readonly<Record<keyof EventOptions, Check>> = {
  events: text,
  eventLogHandler: oneOf('null', 'console', 'file'),
};

/** Whether records go to the folder of the run's logs, which is to stay then. */
export function recordsInLogs({ events, eventLogHandler }: EventOptions): boolean {
  return events === 'logs' || eventLogHandler === 'file';
}
