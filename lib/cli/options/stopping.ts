import type { LaunchOptions } from '../../options/launch-options.js';
import { type GraceReason, graceReasons } from '../../options/stopping.js';
import { didYouMean } from '../../util/nearest.js';
import { durationIn } from '../line/durations.js';
import type { Feature, Values } from './spec.js';

const reasons = graceReasons.join(', ');

export const stopping: Feature = {
  options: [
    {
      names: ['--signal-target'],
      dest: 'signal_target',
      takes: 'text',
      choices: ['leader', 'group'],
      env: false,
      origin: 'regroup',
      group: 'stopping',
      help: 'Who gets a stop signal: the worker alone (default for Python) or its whole process group (default with --no-python).',
    },
    {
      names: ['--grace'],
      dest: 'grace',
      takes: 'text',
      metavar: 'REASON=TIME,…',
      env: false,
      origin: 'regroup',
      group: 'stopping',
      help: `From the stop signal to SIGKILL by the reason of the stop: ${reasons}. Default: --shutdown-timeout for each.`,
    },
  ],
  read: values => ({ ...signalTargetOf(values), ...graceOf(values) }),
};

function signalTargetOf(values: Values): Partial<LaunchOptions> {
  const target = values.text('signal_target');
  return target === 'leader' || target === 'group' ? { signalTarget: target } : {};
}

function graceOf(values: Values): Partial<LaunchOptions> {
  const text = values.text('grace');
  if (text === undefined) return {};

  const graceMs: Partial<Record<GraceReason, number>> = {};
  for (const pair of text.split(',')) {
    const [, reason = '', time] = /^\s*(\w+)=(.*)$/.exec(pair) ?? [];
    const known = graceReasons.find(each => each === reason);
    if (known === undefined || time === undefined) {
      const why = `not REASON=TIME${didYouMean(reason, graceReasons)}`;
      return values.refuse('grace', why, `REASON one of ${reasons}, like failure=5s,signal=2m`);
    }
    graceMs[known] = durationIn(values, 'grace', time);
  }
  return { graceMs };
}
