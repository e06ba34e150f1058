import { type GraceReason, graceReasons } from '../../options/grace.js';
import type { Feature } from '../features.js';
import { toMilliseconds } from './seconds.js';

const reasons = graceReasons.join(', ');

export const grace: Feature = {
  options: [
    {
      names: ['--grace'],
      dest: 'grace',
      takes: 'text',
      metavar: 'REASON=SECONDS,…',
      env: false,
      origin: 'regroup',
      group: 'stopping',
      help: `From the stop signal to SIGKILL by the reason of the stop: ${reasons}. Default: --shutdown-timeout for each.`,
    },
  ],
  read(values) {
    const text = values.text('grace');
    if (text === undefined) return {};

    const graceMs: Partial<Record<GraceReason, number>> = {};
    for (const pair of text.split(',')) {
      const [, reason, seconds] = /^\s*(\w+)=(.*)$/.exec(pair) ?? [];
      const known = graceReasons.find(each => each === reason);
      if (known === undefined || seconds === undefined) {
        return values.refuse('grace', 'not REASON=SECONDS', `REASON one of ${reasons}`);
      }
      graceMs[known] = toMilliseconds(values, 'grace', seconds);
    }
    return { graceMs };
  },
};
