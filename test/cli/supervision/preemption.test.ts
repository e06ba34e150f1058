import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type CliRun, startCli } from '../../harness.js';

const fixture = (name: string) => resolve('test/fixtures', name);

/** Two workers with their handlers in place. */
async function startTwo(t: Test, args: readonly string[], script: readonly string[]) {
  const run = startCli(t, ['--standalone', '--nproc-per-node=2', ...args, ...script]);
  await bothSay(run, 'is ready');
  return run;
}

async function bothSay(run: CliRun, text: string): Promise<void> {
  await Promise.all([0, 1].map(rank => run.line(new RegExp(`worker ${rank} ${text}`))));
}

const waits = [fixture('waits.py')];
const ignores = [fixture('waits.py'), 'ignore'];
const saves = (...codes: readonly string[]) => [fixture('saves.py'), ...codes];

t.test('pain 3: a forwarded signal reaches every worker, and nothing ends', async t => {
  const run = await startTwo(t, ['--forward-signals=SIGUSR2,SIGHUP'], ignores);

  run.kill('SIGUSR2');
  await bothSay(run, 'got SIGUSR2');
  run.kill('SIGHUP');
  await bothSay(run, 'got SIGHUP');
  run.kill('SIGTERM');
  await bothSay(run, 'got SIGTERM');
  run.kill('SIGINT');
  const ended = await run.ended;

  t.equal(ended.code, 1);
  t.match(ended.stderr, /got signal: 15\n$/);
  t.notMatch(ended.stderr, /Received (12|1) death signal/);
});

t.test('pain 5: a notice by a signal reaches every worker', async t => {
  const run = await startTwo(t, ['--preempt-signal=SIGUSR1', '--max-restarts=3'], saves('0', '0'));

  run.kill('SIGUSR1');
  const ended = await run.ended;

  t.equal(ended.code, 0, 'a job that ends well has succeeded');
  t.match(ended.stdout, 'worker 0 saves, notice 1\n');
  t.match(ended.stdout, 'worker 1 saves, notice 1\n');
  t.match(ended.stderr, 'regroup: preemption, says a signal: workers get SIGUSR1; nothing is');
});

t.test('pain 24: what workers end with after a notice costs no restart', async t => {
  const run = await startTwo(t, ['--preempt-signal=SIGUSR1', '--max-restarts=3'], saves('0', '3'));

  run.kill('SIGUSR1');
  const ended = await run.ended;

  t.equal(ended.code, exitCodes.preempted);
  t.match(ended.stdout, 'worker 0 saves, notice 1\n');
  t.match(ended.stderr, /regroup: worker 1 \(local 1\) exited with code 3 after/);
  t.match(ended.stderr, new RegExp(`regroup: preempted; exit code ${exitCodes.preempted}\n$`));
  t.notMatch(ended.stderr, /restarting|ChildFailedError/);
});

t.test('pain 5: SIGTERM can be the notice; another signal ends what goes on', async t => {
  const run = await startTwo(t, ['--preempt-signal=SIGTERM'], ignores);

  run.kill('SIGTERM');
  await bothSay(run, 'got SIGTERM');
  run.kill('SIGINT');
  await bothSay(run, 'got SIGINT');
  run.kill('SIGHUP');
  const ended = await run.ended;

  t.equal(ended.code, 1);
  t.match(ended.stderr, /preemption, says a signal: workers get SIGTERM;/);
  t.match(ended.stderr, /got signal: 2\n$/);
});

t.test('pain 5: --preempt-limit ends workers that go on', async t => {
  const args = ['--preempt-signal=SIGUSR1', '--preempt-limit=0', '--grace', 'preempt=0'];
  const run = await startTwo(t, args, ignores);

  run.kill('SIGUSR1');
  const ended = await run.ended;

  t.equal(ended.code, exitCodes.preempted);
});

t.test('pain 5: a file is a notice as soon as it is there', async t => {
  const folder = t.testdir({});
  const file = join(folder, 'preempted');
  const run = await startTwo(t, ['--preempt-signal=SIGUSR1', '--preempt-file', file], waits);

  writeFileSync(join(folder, 'another'), '');
  writeFileSync(file, '');
  const ended = await run.ended;

  t.equal(ended.code, 0);
  t.match(ended.stdout, 'worker 1 got SIGUSR1\n');
  t.match(ended.stderr, 'preemption, says --preempt-file');
});

t.test('a file whose folder is not there is refused', async t => {
  const run = startCli(t, ['--standalone', '--preempt-file=/nonexist/file', ...waits]);
  const ended = await run.ended;

  t.equal(ended.code, 1);
  t.match(ended.stderr, /^regroup: error: --preempt-file: "\/nonexist\/file" is not accepted/);
});

for (const [who, yes, token] of [
  ['Google', 'TRUE', undefined],
  ['AWS', '{"action": "terminate"}', 'a-token'],
] as const) {
  t.test(`pain 5: a metadata service like that of ${who} gives a notice`, async t => {
    let isDue = false;
    const server = createServer((request, response) => {
      const isToken = request.method === 'PUT' && request.url === '/latest/api/token';
      if (isToken) return response.end(token);
      if (token !== undefined && request.headers['x-aws-ec2-metadata-token'] !== token) {
        response.statusCode = 401;
        return response.end('who are you?');
      }
      t.equal(request.headers['metadata-flavor'], 'Google');
      return response.end(isDue ? yes : 'FALSE');
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo; // it listens on TCP
    const url = `http://127.0.0.1:${port}/preempted`;
    const args = [`--preempt-url=${url}`, '--preempt-interval=0.01', '--preempt-limit=0'];
    const run = await startTwo(t, args, waits);
    isDue = true;
    const ended = await run.ended;

    t.equal(ended.code, exitCodes.preempted);
    t.match(ended.stderr, 'preemption, says --preempt-url: workers are told by the store');
  });
}
