import type { Feature } from './spec.js';

export const signalTarget: Feature = {
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
  ],
  read(values) {
    const target = values.text('signal_target');
    return target === 'leader' || target === 'group' ? { signalTarget: target } : {};
  },
};
