import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { stubLibrary } from '../../gpu/stub.js';
import { type CliOptions, runCli, startCli } from '../../harness.js';

/** Devices are files of a folder of the test's own, the driver is test/native/nvml_stub.c. */

const fixture = (name: string) => resolve('test/fixtures', name);

function machine(
  t: Test,
  driver: string,
): { device: string; tell(text: string): void; env: Record<string, string> } {
  const folder = t.testdir({ dev: { nvidia0: '', nvidiactl: '' } });
  const stub = stubLibrary(folder, driver);
  const env = { ...stub, REGROUP_GPU_DEVICES: join(folder, 'dev') };
  return {
    device: join(folder, 'dev/nvidia0'),
    // At once, so that no reader sees a part.
    tell(text) {
      writeFileSync(join(folder, 'next'), text);
      renameSync(join(folder, 'next'), join(folder, 'gpus'));
    },
    env,
  };
}

/** A process that isn't of any job, and has the device's file open. */
async function stranger(t: Test, device: string): Promise<number> {
  const fd = openSync(device, 'r');
  const child = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  closeSync(fd);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await once(child, 'spawn');
  return child.pid ?? 0;
}

const gpu = 'device GPU-aaaa 00000000 3b 00 0\n';

function run(t: Test, args: readonly string[], options: CliOptions) {
  return runCli(t, ['--standalone', ...args], options);
}

t.test('pain 27: after a failure it names who else holds a GPU, once', async t => {
  const { device, env } = machine(t, gpu);
  const pid = await stranger(t, device);

  const script = [fixture('holds_gpu.py'), device, '3'];
  const { code, stderr } = await run(t, ['--max-restarts=1', ...script], { env });

  t.equal(code, 1);
  const uid = process.getuid?.();
  const line = `GPU nvidia0 is held by pid ${pid} (sleep, uid ${uid}), which isn't of this job\n`;
  t.equal(stderr.split(line).length, 2, stderr);
  t.notMatch(stderr, /doesn't go/);
});

t.test('after a success strangers are not told', async t => {
  const { device, env } = machine(t, gpu);
  await stranger(t, device);

  const { code, stderr } = await run(t, [fixture('holds_gpu.py'), device, '0'], { env });

  t.match({ code, stderr }, { code: 0, stderr: '' });
});

t.test('pain 27: what follows a round waits until the driver has let go of the worker', async t => {
  const { device, tell, env } = machine(t, gpu);
  const run = startCli(t, ['--standalone', '--gpu-wait=300', fixture('holds_gpu.py'), device], {
    env,
  });
  const worker = Number((await run.line(/holds it/)).split(' ').at(-1));
  tell(`${gpu}process ${worker} 1048576\n`);
  process.kill(worker, 'SIGKILL');
  while (existsSync(`/proc/${worker}`)) await new Promise(done => setTimeout(done, 5));
  let isOver = false;
  void run.ended.then(() => {
    isOver = true;
  });
  // The process is gone, and only the driver's list keeps it.
  await new Promise(done => setTimeout(done, 300));
  t.notOk(isOver);

  tell(gpu);

  const { code, stderr } = await run.ended;
  t.equal(code, 1);
  t.notMatch(stderr, /GPU nvidia0/);
});

t.test('pain 27: it goes on when its time is over, and tells', async t => {
  const { device, tell, env } = machine(t, gpu);
  const run = startCli(t, ['--standalone', '--gpu-wait=100ms', fixture('holds_gpu.py'), device], {
    env,
  });
  const worker = Number((await run.line(/holds it/)).split(' ').at(-1));
  tell(`${gpu}process ${worker} 1048576\n`);
  process.kill(worker, 'SIGKILL');

  const { code, stderr } = await run.ended;

  t.equal(code, 1);
  const line = `GPU nvidia0 is still held by pid ${worker} (ended, 1 MiB), a process of this job that doesn't go\n`;
  t.match(stderr, line);
});

t.test('a second signal ends the wait', async t => {
  const { device, tell, env } = machine(t, gpu);
  const run = startCli(t, ['--standalone', '--gpu-wait=300', fixture('holds_gpu.py'), device], {
    env,
  });
  const worker = Number((await run.line(/holds it/)).split(' ').at(-1));
  tell(`${gpu}process ${worker} 1048576\n`);
  run.kill('SIGTERM');
  while (existsSync(`/proc/${worker}`)) await new Promise(done => setTimeout(done, 5));
  // One that comes within 100 ms is the first one's echo.
  await new Promise(done => setTimeout(done, 200));

  run.kill('SIGTERM');

  t.equal((await run.ended).code, 1);
});

t.test('nobody looks with --gpu-wait=0, nor where there is no GPU', async t => {
  const { device, env } = machine(t, gpu);
  await stranger(t, device);
  const script = [fixture('holds_gpu.py'), device, '3'];

  t.notMatch((await run(t, ['--gpu-wait=0', ...script], { env })).stderr, 'GPU nvidia0');
  const none = { ...env, REGROUP_GPU_DEVICES: t.testdirName };
  t.notMatch((await run(t, script, { env: none })).stderr, 'GPU nvidia0');
});

t.test('a stop is heard while the driver is asked which GPU a worker sees', async t => {
  const fifo = join(t.testdirName, 'fifo');
  const { env } = machine(t, `${gpu}hang nvmlInit_v2 ${fifo}\n`);
  execFileSync('mkfifo', [fifo]);
  const run = startCli(t, ['--standalone', '--numa-binding=node', '--no-python', 'echo', 'runs'], {
    env: { ...env, CUDA_VISIBLE_DEVICES: 'MIG-5c1f' },
  });
  const driver = await open(fifo, 'w'); // it hangs as long as this isn't closed
  t.teardown(() => driver.close());

  run.kill('SIGTERM');

  t.match(await run.ended, { code: 1, signal: null, stdout: '' });
});
