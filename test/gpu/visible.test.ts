import t from 'tap';
import { visibleGpus } from '../../lib/gpu/visible.js';

const gpus = ['GPU-aa01', 'GPU-aa02', 'GPU-bb03'].map((uuid, index) => ({
  uuid,
  pci: `0000:1${index}:00.0`,
}));

const cases: readonly [visible: string | undefined, indices: readonly (number | undefined)[]][] = [
  [undefined, [0, 1, 2]],
  ['', []],
  ['2,0', [2, 0]],
  ['0,-1,2', [0]],
  ['0,9,1', [0]],
  ['1,1', []],
  ['GPU-bb,GPU-aa01', [2, 0]],
  ['GPU-aa,GPU-bb', []],
  ['GPU-bb,1', [2]],
  ['MIG-GPU-aa02/1/0,MIG-GPU-bb03/1/0', [1]],
  ['MIG-5c1f', [undefined]],
];

for (const [visible, indices] of cases) {
  t.test(`CUDA_VISIBLE_DEVICES=${visible} shows ${JSON.stringify(indices)}`, async t => {
    const shown = visibleGpus(visible, gpus);

    t.same(
      shown.map(gpu => (gpu === undefined ? undefined : gpus.indexOf(gpu))),
      indices,
    );
  });
}
