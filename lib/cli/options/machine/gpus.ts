import { durationOf } from '../../line/durations.js';
import type { Feature } from '../spec.js';

export const gpus: Feature = {
  options: [
    {
      names: ['--gpu-wait'],
      dest: 'gpu_wait',
      takes: 'text',
      metavar: 'TIME',
      env: false,
      origin: 'regroup',
      group: 'stopping',
      help: 'After a round, until none of its processes holds a GPU any more, at most so long; 0: no look. Default: 10s.',
    },
  ],
  read(values) {
    const gpuWaitMs = durationOf(values, 'gpu_wait');
    return gpuWaitMs === undefined ? {} : { gpuWaitMs };
  },
};
