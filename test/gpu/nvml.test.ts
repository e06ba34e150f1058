import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cleanEnv, runCli } from '../harness.js';
import { stubLibrary } from './stub.js';

t.setTimeout(120_000);

const two = `device GPU-aaaa 00000000 3b 00 1
mig MIG-5c1f
mig MIG-77aa
process 100 4096
device GPU-bbbb 00000000 af 00 0
process 101 -1
`;

/** What a script, with the addon and its own text at hand, prints as JSON. */
function evaluate(t: Test, text: string, script: string): { status: number | null; told: unknown } {
  const env = cleanEnv(stubLibrary(t.testdir(), text));
  const whole = `const addon = require('node-gyp-build')(process.cwd()); ${script}`;
  const ran = spawnSync(process.execPath, ['-e', whole], { env, encoding: 'utf8' });
  return { status: ran.status, told: ran.stdout === '' ? ran.stderr : JSON.parse(ran.stdout) };
}

t.test(
  'the addon tells what the driver knows, without a word where that knows nothing',
  async t => {
    const script = 'addon.gpus(20_000).then(gpus => console.log(JSON.stringify(gpus)))';

    t.same(evaluate(t, two, script).told, {
      devices: [
        {
          index: 0,
          uuid: 'GPU-aaaa',
          pci: '0000:3b:00.0',
          minor: 1,
          instances: [
            { uuid: 'MIG-5c1f', processes: [] },
            { uuid: 'MIG-77aa', processes: [{ pid: 100, kind: 'compute', usedBytes: 4096 }] },
          ],
          processes: [],
        },
        {
          index: 1,
          uuid: 'GPU-bbbb',
          pci: '0000:af:00.0',
          minor: 0,
          instances: [],
          processes: [{ pid: 101, kind: 'compute' }],
        },
      ],
    });
    t.same(evaluate(t, 'fail nvmlInit_v2 9', script).told, {
      devices: [],
      trouble: { why: 'refused', step: 'nvmlInit_v2', code: 9, text: 'Driver Not Loaded' },
    });
  },
);

t.test('a driver that hangs keeps neither the event loop nor the process', async t => {
  const fifo = join(t.testdir(), 'fifo');
  const env = cleanEnv(stubLibrary(t.testdirName, `${two}hang nvmlInit_v2 ${fifo}`));
  execFileSync('mkfifo', [fifo]);
  const script = `
    const addon = require('node-gyp-build')(process.cwd());
    const told = addon.gpus(100);
    setImmediate(async () => console.log('goes on', JSON.stringify((await told).trouble)));`;

  const ran = spawnSync(process.execPath, ['-e', script], { env, encoding: 'utf8' });

  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stdout, /^goes on .*"timed-out","step":"nvmlInit_v2"/);
});

t.test(
  'a worker thread of Node may end while the driver hangs, and take the addon with it',
  async t => {
    const fifo = join(t.testdir(), 'fifo');
    const env = cleanEnv(stubLibrary(t.testdirName, `${two}hang nvmlInit_v2 ${fifo}`));
    execFileSync('mkfifo', [fifo]);
    // The main thread never loads the addon: with the worker it's unloaded. Then the driver comes back.
    const script = `
    const { Worker } = require('node:worker_threads');
    const { closeSync, openSync } = require('node:fs');
    const worker = new Worker(\`
      const addon = require('node-gyp-build')(process.cwd());
      addon.gpus(50).then(({ trouble }) => require('node:worker_threads').parentPort.postMessage(trouble.why));
    \`, { eval: true });
    worker.on('message', why => console.log(why));
    worker.on('exit', () => {
      closeSync(openSync(process.argv[1], 'w'));
      setTimeout(() => console.log('alive'), 50);
    });`;

    const ran = spawnSync(process.execPath, ['-e', script, fifo], { env, encoding: 'utf8' });

    t.equal(ran.signal, null);
    t.equal(ran.stdout, 'timed-out\nalive\n', ran.stderr);
  },
);

t.test('pain 20: of a MIG device by UUID the command knows the GPU', async t => {
  const folder = t.testdir({ dev: { nvidia0: '', nvidia1: '' } });
  const env = {
    ...stubLibrary(folder, two),
    REGROUP_GPU_DEVICES: join(folder, 'dev'),
    CUDA_VISIBLE_DEVICES: 'MIG-77aa',
  };

  const ended = await runCli(t, ['topology', '--json', '--nproc-per-node=1'], { env });

  t.equal(ended.code, 0, ended.stderr);
  t.match(JSON.parse(ended.stdout).plan.workers, [{ gpu: 'GPU-aaaa' }]);
});
