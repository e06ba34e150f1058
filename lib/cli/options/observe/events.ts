import type { Feature } from '../spec.js';

const handlers = ['null', 'console', 'file'] as const;

/** Records of what happens. torchrun's own option stands with the others of torchrun. */
export const events: Feature = {
  options: [
    {
      names: ['--events'],
      dest: 'events',
      takes: 'text',
      metavar: 'PATH|logs',
      env: false,
      origin: 'regroup',
      group: 'observe',
      help: 'Append what happens to this file, an event a line, as JSON; logs: to events.jsonl in the folder of the logs. ${hostname}, ${run_id} and ${role_name} are replaced. Nothing ever waits for the file. Default: none.',
    },
  ],
  read(values) {
    const path = values.text('events');
    if (path === '') values.refuse('events', 'its name is empty', 'a path, or logs');
    const handler = values.text('event_log_handler') ?? 'null';
    const eventLogHandler = handlers.find(each => each === handler);
    if (eventLogHandler === undefined) {
      const accepted = `${handlers.join(', ')}; plugins of torchrun are Python, and none can be loaded here`;
      values.refuse('event_log_handler', `there is no handler ${handler}`, accepted);
    }
    return {
      ...(path === undefined ? {} : { events: path }),
      ...(eventLogHandler === undefined || eventLogHandler === 'null' ? {} : { eventLogHandler }),
    };
  },
};
