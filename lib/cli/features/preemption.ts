import type { Feature } from '../features.js';
import type { OptionSpec } from '../option-spec.js';
import { isCatchable } from '../settings.js';
import type { Values } from '../values.js';
import { millisecondsOf } from './seconds.js';

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
      [
        '--preempt-interval',
        'SECONDS',
        'From one question to that service to the next. Default: 5.',
      ],
      ['--preempt-limit', 'SECONDS', 'From the notice to SIGTERM. Default: none.'],
    ]),
  ],
  read(values) {
    const signal = values.text('preempt_signal');
    const file = values.text('preempt_file');
    const url = values.text('preempt_url');
    const preemptUrlIntervalMs = millisecondsOf(values, 'preempt_interval');
    const limitMs = millisecondsOf(values, 'preempt_limit');
    if (signal !== undefined && !isCatchable(signal)) {
      values.refuse('preempt_signal', 'no signal that can be caught', 'a name like SIGUSR1');
    }
    return {
      ...(signal === undefined ? {} : { preemptSignal: signal }),
      ...(file === undefined ? {} : { preemptFile: file }),
      ...(url === undefined ? {} : { preemptUrl: url }),
      ...(preemptUrlIntervalMs === undefined ? {} : { preemptUrlIntervalMs }),
      ...(limitMs === undefined ? {} : { preemptLimitMs: limitMs }),
    };
  },
};

/** @throws CommandLineError */
export function parseForwardSignals(values: Values): readonly NodeJS.Signals[] {
  const names = (values.text('forward_signals') ?? '').split(',').map(name => name.trim());
  return names.filter((name): name is NodeJS.Signals => {
    if (name !== '' && !isCatchable(name)) {
      values.refuse('forward_signals', `${name} can't be caught`, 'names like SIGUSR1,SIGUSR2');
    }
    return name !== '';
  });
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
