import t from 'tap';
import type { DeviceSource } from '../../lib/machine/source.js';
import { countVisible, localWorldSizeOf } from '../../lib/workers/count.js';

const uuids = ['GPU-aaaa-1', 'GPU-aaab-2', 'GPU-bbbb-3', 'GPU-cccc-4'];

function machine(options: { gpus?: number; proc?: number; cpus?: string } = {}): DeviceSource {
  const { gpus = 0, proc = gpus, cpus = '0-3,8' } = options;
  return {
    read(path) {
      if (path === '/proc/self/status')
        return `Name:\tnode\nCpus_allowed_list:\t${cpus}\nMems:\t0\n`;
      const address = /gpus\/(\d+)\/information$/.exec(path)?.[1];
      return address === undefined
        ? undefined
        : `Model: \t X\nGPU UUID:\t ${uuids[Number(address)]}\n`;
    },
    list(path) {
      if (path === '/dev')
        return ['null', 'nvidiactl', ...Array.from({ length: gpus }, (_, i) => `nvidia${i}`)];
      if (path === '/proc/driver/nvidia/gpus')
        return Array.from({ length: proc }, (_, i) => String(i));
      return [];
    },
  };
}

t.test('L-014 L-015 L-016 L-017 words of nprocPerNode count what this process may use', t => {
  const cases: [string | number, Record<string, string>, DeviceSource, number][] = [
    [3, {}, machine(), 3],
    ['cpu', {}, machine(), 5],
    ['cpu', {}, machine({ cpus: '7' }), 1],
    ['cpu', {}, machine({ gpus: 4 }), 5],
    ['auto', {}, machine(), 5],
    ['auto', {}, machine({ gpus: 4 }), 4],
    ['auto', { CUDA_VISIBLE_DEVICES: '' }, machine({ gpus: 4 }), 5],
    ['gpu', {}, machine({ gpus: 4 }), 4],
    ['gpu', {}, machine({ gpus: 2, proc: 4 }), 2],
    ['gpu', {}, machine({ gpus: 4, proc: 0 }), 4],
    ['gpu', { CUDA_VISIBLE_DEVICES: '1,3' }, machine({ gpus: 4 }), 2],
    ['gpu', { CUDA_VISIBLE_DEVICES: 'GPU-aaaa,GPU-cccc' }, machine({ gpus: 4 }), 2],
  ];
  for (const [word, env, source, expected] of cases) {
    t.equal(localWorldSizeOf(word, env, source), expected, JSON.stringify([word, env]));
  }
  t.end();
});

t.test('L-014 L-015 words that mean nothing here have torchrun’s texts', t => {
  const cases: [string | number, string, string][] = [
    ['gpu', 'ERR_NO_DEVICES', 'Cuda is not available.'],
    ['xpu', 'ERR_NO_DEVICES', 'Xpu is not available.'],
    ['foo', 'ERR_NPROC', 'Unsupported nproc_per_node value: foo'],
    [0, 'ERR_OPTION', 'nprocPerNode: 0 is not accepted; give a whole number from 1'],
  ];
  for (const [word, code, message] of cases) {
    t.throws(() => localWorldSizeOf(word, {}, machine()), { code, message });
  }
  t.end();
});

t.test('CUDA_VISIBLE_DEVICES ends at the first invalid entry', t => {
  const cases: [string, number][] = [
    ['0,1,2,3', 4],
    ['3,1', 2],
    [' 2 , 0 ', 2],
    ['0,9,1', 1],
    ['0,-1,1', 1],
    ['-1', 0],
    ['', 0],
    ['none', 0],
    ['0,,1', 1],
    ['1gpu,2ampere', 2],
    ['0,0', 0],
    ['GPU-bbbb-3,GPU-cccc-4', 2],
    ['GPU-aaa', 0],
    ['GPU-bbbb,GPU-zzzz,GPU-cccc', 1],
    ['GPU-bbbb,1', 1],
    ['MIG-1,MIG-2', 1],
  ];
  for (const [visible, expected] of cases) {
    t.equal(countVisible(visible, 4, uuids), expected, JSON.stringify(visible));
  }
  t.equal(countVisible('GPU-x,GPU-y', 4, []), 2, 'without uuids the entries are believed');
  t.equal(countVisible('GPU-x,GPU-y', 1, []), 1);
  t.end();
});
