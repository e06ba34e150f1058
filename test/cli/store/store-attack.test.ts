import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, startCli, startProgram } from '../../harness.js';

// Whoever reaches a job's store, and what that can't do to the job.

t.setTimeout(850_000);

/** Keeps the store at this port busy, or its connections; until the test ends. */
async function attack(t: Test, how: 'lists' | 'connections', port: string): Promise<CliRun> {
  const script = [resolve('test/fixtures/attacks_store.py'), how, port];
  const attacker = startProgram(t, ['python3', ...script], { typing: true });
  t.teardown(async () => {
    attacker.kill('SIGKILL');
    await attacker.ended;
  });
  await attacker.line(/^attacks$/);
  return attacker;
}

/** The port that a worker says, in each round. */
async function portOf(run: CliRun): Promise<string> {
  return /port (\d+)/.exec(await run.line(/port \d+/))?.[1] ?? '';
}

t.test('F-N05 a store that is attacked delays neither a stop nor the end of a round', async t => {
  const worker = ['--no-python', 'sh', '-c', 'echo port $MASTER_PORT; exec sleep 1000'];
  const run = startCli(t, ['--nproc-per-node=1', ...worker]);
  const attacker = await attack(t, 'lists', await portOf(run));
  let isOver = false;
  void attacker.ended.then(() => {
    isOver = true;
  });

  run.kill('SIGTERM');
  const { code } = await run.ended;

  t.equal(code, 1);
  // It takes the attacker's lists a hundred times as long to be served as this takes to end.
  t.notOk(isOver);
});

t.test('F-N06 connections leave the descriptors that a restart needs', async t => {
  const under = ['prlimit', '--nofile=150:150'];
  const script =
    'echo port $MASTER_PORT; read go; [ $TORCHELASTIC_RESTART_COUNT = 1 ] && exit 0; exit 1';
  const args = ['--nproc-per-node=1', '--max-restarts=1', '--no-python', 'sh', '-c', script];
  const run = startCli(t, args, { under, typing: true });
  await attack(t, 'connections', await portOf(run));

  run.type('go\ngo\n');

  const { code, stderr } = await run.ended;
  t.equal(code, 0, stderr);
  t.match(stderr, /store: no descriptor for a connection: \d+ of 150 are kept for workers/);
});
