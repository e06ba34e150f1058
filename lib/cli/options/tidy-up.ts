import { acceptedDuration, parseDuration } from '../../util/duration.js';
import type { Feature } from './spec.js';

const common = { env: false, origin: 'regroup', group: 'stopping' } as const;

export const tidyUp: Feature = {
  options: [
    {
      ...common,
      names: ['--tidy-grace'],
      dest: 'tidy_grace',
      takes: 'text',
      metavar: 'TIME',
      help: 'How long what workers have started may outlive them before SIGKILL, in a round that failed or was stopped; the next one waits for it. Default: 500ms.',
    },
    {
      ...common,
      names: ['--leave-detached'],
      dest: 'leave_detached',
      takes: 'flag',
      help: 'Leave alone what workers have started in a session of its own, unless it holds a GPU. REGROUP_LEAVE=1 in the environment of a process does so for that one.',
    },
  ],
  read(values) {
    const text = values.text('tidy_grace');
    const isGiven = values.flag('leave_detached');
    const tidyGraceMs = text === undefined ? undefined : parseDuration(text);
    if (text !== undefined && tidyGraceMs === undefined)
      values.refuse('tidy_grace', "isn't a time", acceptedDuration);
    return {
      ...(tidyGraceMs === undefined ? {} : { tidyGraceMs }),
      ...(isGiven ? { leaveDetached: true } : {}),
    };
  },
};
