import { didYouMean } from '../../util/nearest.js';
import { signalNamed, signalNames } from '../../util/signals.js';
import { durationOf } from '../line/durations.js';
import { isCatchable } from '../line/settings.js';
import type { Feature, OptionSpec, Values } from './spec.js';

const common = { env: false, origin: 'regroup', group: 'stopping' } as const;

export const preemption: Feature = {
  options: [
    {
      ...common,
      names: ['--forward-signals'],
      dest: 'forward_signals',
      takes: 'text',
      metavar: 'SIGNALS',
      help: 'Comma-separated signals that are passed on to the workers and end nothing.',
    },
    {
      ...common,
      names: ['--preempt-signal'],
      dest: 'preempt_signal',
      takes: 'text',
      metavar: 'SIGNAL',
      help: 'A notice that this machine will be taken away. It reaches all workers, and from then on no failure costs a restart.',
    },
    ...texts([
      ['--preempt-file', 'PATH', 'A file that is there is such a notice, too.'],
      [
        '--preempt-url',
        'URL',
        'A metadata service that answers 200, and neither FALSE nor NONE, gives such a notice, too.',
      ],
      ['--preempt-interval', 'TIME', 'From one question to that service to the next. Default: 5s.'],
      ['--preempt-limit', 'TIME', 'From the notice to SIGTERM. Default: none.'],
    ]),
  ],
  read(values) {
    const signal = signalOf(values);
    const file = values.text('preempt_file');
    const url = values.text('preempt_url');
    const preemptUrlIntervalMs = durationOf(values, 'preempt_interval');
    const limitMs = durationOf(values, 'preempt_limit');
    return {
      ...(signal === undefined ? {} : { preemptSignal: signal }),
      ...(file === undefined ? {} : { preemptFile: file }),
      ...(url === undefined ? {} : { preemptUrl: url }),
      ...(preemptUrlIntervalMs === undefined ? {} : { preemptUrlIntervalMs }),
      ...(limitMs === undefined ? {} : { preemptLimitMs: limitMs }),
    };
  },
};

function signalOf(values: Values): NodeJS.Signals | undefined {
  const text = values.text('preempt_signal');
  return text === undefined ? undefined : catchable(values, 'preempt_signal', text);
}

/** @throws CommandLineError */
export function parseForwardSignals(values: Values): readonly NodeJS.Signals[] {
  const names = (values.text('forward_signals') ?? '').split(',').map(name => name.trim());
  return names.flatMap(name => (name === '' ? [] : catchable(values, 'forward_signals', name)));
}

/** @throws CommandLineError */
function catchable(values: Values, dest: string, text: string): NodeJS.Signals {
  const name = signalNamed(text);
  if (name !== undefined && isCatchable(name)) return name;
  const why = name === undefined ? `there is no signal ${text}` : `${name} can't be caught`;
  const meant = name === undefined ? didYouMean(text, signalNames) : '';
  return values.refuse(dest, `${why}${meant}`, 'names like SIGUSR1 or USR1');
}

function texts(rows: readonly (readonly [name: string, metavar: string, help: string])[]) {
  return rows.map(
    ([name, metavar, help]): OptionSpec => ({
      ...common,
      names: [name],
      dest: name.slice(2).replaceAll('-', '_'),
      takes: 'text',
      metavar,
      help,
    }),
  );
}
