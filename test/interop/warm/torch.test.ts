import { join } from 'node:path';
import t from 'tap';
import { releases, torchOrSkip } from '../torch.js';
import { same } from './compare.js';
import { here } from './standby.js';

// What a training script sees of torch, cold and warm.

// Three imports of torch, beside other tests, and those of its data loaders' workers.
t.setTimeout(800_000);

for (const release of releases) {
  t.test(`PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;

    await same(t, torch.python, t.testdir(), {
      args: [join(here, 'trains.py')],
      env: { OMP_NUM_THREADS: '2' },
      shows: /^loss: /m,
    });
  });
}
