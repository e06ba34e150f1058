import t from 'tap';
import {
  amdGpus,
  intelGpus,
  needsNvml,
  nvidiaGpus,
  withNvml,
  workerGpus,
} from '../../lib/gpu/present.js';
import { visibleAmdGpus, visibleIntelGpus } from '../../lib/gpu/visible.js';
import type { NativeGpus } from '../../lib/native/gpu.js';
import { ownDevice } from '../../lib/placement/env.js';
import { sourceOf } from '../placement/machine.js';

const nvidia = (address: string, uuid: string, minor: number): Record<string, string> => ({
  [`/proc/driver/nvidia/gpus/${address}/information`]: `Model: \t\t NVIDIA A100\nGPU UUID: \t ${uuid}\nDevice Minor: \t ${minor}\n`,
});

const twoNvidia = {
  ...nvidia('0000:af:00.0', 'GPU-bb', 0),
  ...nvidia('0000:3B:00.0', 'GPU-aa', 1),
};

/** As the library tells of the same two, one of which is divided. */
const nvml: NativeGpus = {
  devices: [
    {
      index: 0,
      uuid: 'GPU-aa',
      pci: '0000:3b:00.0',
      minor: 1,
      instances: [
        { uuid: 'MIG-5c1f', processes: [] },
        { uuid: 'MIG-77aa', processes: [] },
      ],
      processes: [],
    },
    { index: 1, uuid: 'GPU-bb', pci: '0000:af:00.0', minor: 0, instances: [], processes: [] },
  ],
};

t.test('GPUs of NVIDIA are those whose device files are there, in PCI order', async t => {
  const all = sourceOf({ ...twoNvidia, '/dev/nvidia0': '', '/dev/nvidia1': '' });
  const one = sourceOf({ ...twoNvidia, '/dev/nvidia0': '', '/dev/nvidiactl': '' });

  t.same(nvidiaGpus(all), [
    { uuid: 'GPU-aa', pci: '0000:3b:00.0', device: 'nvidia1' },
    { uuid: 'GPU-bb', pci: '0000:af:00.0', device: 'nvidia0' },
  ]);
  t.same(nvidiaGpus(one), [{ uuid: 'GPU-bb', pci: '0000:af:00.0', device: 'nvidia0' }]);
});

t.test('pain 20: a MIG device by its own UUID is on the GPU that the library says', async t => {
  const source = sourceOf({ ...twoNvidia, '/dev/nvidia0': '', '/dev/nvidia1': '' });
  const env = { CUDA_VISIBLE_DEVICES: 'MIG-77' };

  t.equal(needsNvml(env, ['null', 'nvidia0']), true);
  t.match(workerGpus(env, { ...source, nvml }), [{ pci: '0000:3b:00.0' }]);
  t.same(workerGpus(env, source), [undefined], 'without the library nobody knows');
  t.same(workerGpus({ CUDA_VISIBLE_DEVICES: 'MIG-9' }, { ...source, nvml }), [undefined]);
});

t.test('the library is asked for nothing that plain reads tell', async t => {
  for (const CUDA_VISIBLE_DEVICES of [undefined, '', '0,1', 'GPU-aa', 'MIG-GPU-aa/1/0'])
    t.equal(needsNvml({ CUDA_VISIBLE_DEVICES }, ['nvidia0']), false, `${CUDA_VISIBLE_DEVICES}`);
  t.equal(needsNvml({ CUDA_VISIBLE_DEVICES: 'MIG-5c1f' }, ['null', 'nvidiactl']), false);
});

t.test("where /proc tells of no GPU, the library's are taken", async t => {
  t.same(withNvml([], nvml), [
    { uuid: 'GPU-aa', pci: '0000:3b:00.0', device: 'nvidia1', instances: ['MIG-5c1f', 'MIG-77aa'] },
    { uuid: 'GPU-bb', pci: '0000:af:00.0', device: 'nvidia0' },
  ]);
  const hung: NativeGpus = {
    devices: [],
    trouble: { why: 'timed-out', step: 'nvmlInit_v2', code: 0, text: '' },
  };
  t.same(withNvml([{ uuid: 'GPU-aa', pci: '0000:3b:00.0' }], hung), [
    { uuid: 'GPU-aa', pci: '0000:3b:00.0' },
  ]);
});

const kfd = (node: number, properties: string): Record<string, string> => ({
  [`/sys/class/kfd/kfd/topology/nodes/${node}/properties`]: properties,
});

/** Two CPU nodes, then GPUs; the last has another domain and is the second part of its function. */
const fourAmd = {
  ...kfd(0, 'cpu_cores_count 96\nsimd_count 0\nlocation_id 0\ndomain 0\n'),
  ...kfd(1, 'cpu_cores_count 96\nsimd_count 0\nlocation_id 0\ndomain 0\n'),
  ...kfd(
    2,
    'cpu_cores_count 0\nsimd_count 1216\nlocation_id 1280\ndomain 0\ndrm_render_minor 128\nunique_id 11427960123456789012\n',
  ),
  ...kfd(3, 'simd_count 1216\nlocation_id 9480\ndomain 0\ndrm_render_minor 129\nunique_id 17\n'),
  ...kfd(
    10,
    'simd_count 1216\nlocation_id 268461312\ndomain 1\ndrm_render_minor 130\nunique_id 18\n',
  ),
  ...kfd(11, 'simd_count 1216\nlocation_id 25856\ndomain 0\nunique_id 0\n'),
};

t.test("GPUs of AMD are the kernel's nodes with compute units", async t => {
  const shownBy = 'ROCR_VISIBLE_DEVICES';
  t.same(amdGpus(sourceOf(fourAmd)), [
    { uuid: 'GPU-9e98452f31f89a14', pci: '0000:05:00.0', device: 'dri/renderD128', shownBy },
    { uuid: 'GPU-0000000000000011', pci: '0000:25:01.0', device: 'dri/renderD129', shownBy },
    { uuid: 'GPU-0000000000000012', pci: '0001:65:00.0', device: 'dri/renderD130', shownBy },
    { uuid: '', pci: '0000:65:00.0', shownBy },
  ]);
  t.same(amdGpus(sourceOf({})), []);
});

const amdCases: readonly (readonly [env: Record<string, string>, indices: readonly number[]])[] = [
  [{}, [0, 1, 2, 3]],
  [{ ROCR_VISIBLE_DEVICES: '2,0' }, [2, 0]],
  [{ ROCR_VISIBLE_DEVICES: 'GPU-0000000000000012,1' }, [2, 1]],
  [{ ROCR_VISIBLE_DEVICES: '1,2,3', HIP_VISIBLE_DEVICES: '2,0' }, [3, 1]],
  [{ ROCR_VISIBLE_DEVICES: '1,2', CUDA_VISIBLE_DEVICES: '1' }, [2]],
  [{ HIP_VISIBLE_DEVICES: '3', CUDA_VISIBLE_DEVICES: '0' }, [3]],
  [{ HIP_VISIBLE_DEVICES: '1,-1,2' }, [1]],
  [{ HIP_VISIBLE_DEVICES: '' }, []],
];

for (const [env, indices] of amdCases) {
  t.test(`pain 20: of AMD's, ${JSON.stringify(env)} shows ${JSON.stringify(indices)}`, async t => {
    const gpus = amdGpus(sourceOf(fourAmd));

    const shown = visibleAmdGpus(env, gpus);

    t.same(
      shown.map(gpu => gpus.indexOf(gpu)),
      indices,
    );
    t.same(workerGpus(env, sourceOf(fourAmd)), shown);
  });
}

const card = (name: string, vendor: string, kind: string, render: string) => ({
  [`/sys/class/drm/${name}/device/vendor`]: `${vendor}\n`,
  [`/sys/class/drm/${name}/device/class`]: `${kind}\n`,
  [`/sys/class/drm/${name}/device/drm/${render}/dev`]: '226:0\n',
});

/** Two of Intel's among a management controller's screen and an accelerator that's no GPU. */
const twoIntel = {
  ...sourceOf({
    ...card('card0', '0x1a03', '0x030000', 'card0'),
    ...card('card1', '0x8086', '0x038000', 'renderD129'),
    ...card('card2', '0x8086', '0x030000', 'renderD128'),
    ...card('card3', '0x8086', '0x120000', 'renderD130'),
    '/sys/class/drm/card1-DP-1/status': 'disconnected\n',
  }),
  resolve: (path: string) => {
    const number = /card(\d)/.exec(path)?.[1];
    return `/sys/devices/pci0000:00/0000:00:01.0/0000:${9 - Number(number)}a:00.0`;
  },
};

t.test("GPUs of Intel are its display controllers, by address, and no one else's", async t => {
  const shownBy = 'ZE_AFFINITY_MASK';
  t.same(intelGpus(twoIntel), [
    { uuid: '', pci: '0000:7a:00.0', device: 'dri/renderD128', shownBy },
    { uuid: '', pci: '0000:8a:00.0', device: 'dri/renderD129', shownBy },
  ]);
});

t.test("a worker's own GPU is shown by its maker's variable", async t => {
  t.same(ownDevice({}, 1, amdGpus(sourceOf(fourAmd))), { ROCR_VISIBLE_DEVICES: '1' });
  t.same(ownDevice({}, 1, intelGpus(twoIntel)), { ZE_AFFINITY_MASK: '1' });
});

const intelCases: readonly (readonly [mask: string | undefined, indices: readonly number[]])[] = [
  [undefined, [0, 1]],
  ['', [0, 1]],
  ['1', [1]],
  ['1,0', [0, 1]],
  ['0.1,0.0', [0]],
  ['7', []],
];

for (const [ZE_AFFINITY_MASK, indices] of intelCases) {
  t.test(`pain 20: ZE_AFFINITY_MASK=${ZE_AFFINITY_MASK} shows ${indices}`, async t => {
    const gpus = intelGpus(twoIntel);

    const shown = visibleIntelGpus({ ZE_AFFINITY_MASK }, gpus);

    t.same(
      shown.map(gpu => gpus.indexOf(gpu)),
      indices,
    );
    t.same(workerGpus({ ZE_AFFINITY_MASK }, twoIntel), shown);
  });
}
