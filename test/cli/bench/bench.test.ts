import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runCli, startCli } from '../../harness.js';

/** A bare worker: it meets its store, and says in each round that it has made a step; then it waits for its end. */
const steps = `
import os, socket, struct, sys, time
store = socket.create_connection((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])))
store.sendall(bytes.fromhex('00cef7853c') + struct.pack('<BQ1sq', 4, 1, b'k', 1))
store.recv(8)
sys.stdout.write('step of rank %s\\n' % os.environ['RANK'])
sys.stdout.flush()
time.sleep(600)
`;
const job = ['--standalone', '--nproc-per-node=2', '--no-python', 'python3', '-S', '-E', '-c'];
const restart = ['bench', 'restart', '--after=0', '--timeout=4m'];

t.test('each kind of kill is measured, and told as a table, a picture and JSON', async t => {
  const folder = t.testdir();
  const [svg, json] = [join(folder, 'a.svg'), join(folder, 'a.json')];
  const asked = ['--kill=sigkill,exit,sigsegv,agent', '--kills=2', '--step=^step of rank'];
  const args = [...restart, ...asked, `--svg=${svg}`, `--json=${json}`];

  const ended = await runCli(t, [...args, '--', ...job, steps]);

  t.equal(ended.code, 0, ended.stderr);
  for (const kind of ['sigkill', 'exit', 'sigsegv', 'agent'])
    t.match(ended.stdout, new RegExp(`^${kind} +regroup +2 +0 +\\d+ +\\d+–\\d+ +\\d+–\\d+$`, 'm'));
  t.match(
    ended.stdout,
    /^sigkill, regroup, medians of the phases: noticed \d+ · stopped \d+ · rendezvous \d+ · started \d+ · script \d+$/m,
  );
  t.match(readFileSync(svg, 'utf8'), /^<svg/);
  const { launchers } = JSON.parse(readFileSync(json, 'utf8'));
  t.equal(launchers.length, 1);
  t.equal(launchers[0].samples.length, 8);
  for (const { totalMs } of launchers[0].samples) t.ok(totalMs > 0);
});

t.test('a line of the killed round does not end the time, however many are under way', async t => {
  const path = join(t.testdir(), 'a.json');
  const asked = ['--kill=sigkill,exit,sigsegv', '--kills=2', '--step=^round', `--json=${path}`];
  // More than a pipe holds, so that some is always under way.
  const chatty = `
import os
line = 'round %s\\n' % os.environ['TORCHELASTIC_RESTART_COUNT']
while True: os.write(1, (line * 400).encode())
`;

  const ended = await runCli(t, [...restart, ...asked, '--', ...job, chatty]);

  t.equal(ended.code, 0, ended.stderr);
  const [{ samples }] = JSON.parse(readFileSync(path, 'utf8')).launchers;
  const lines = samples.map(({ line }: { line: string }) => line);
  t.strictSame(lines, [...['round 1', 'round 2', 'round 3'], ...['round 1', 'round 2', 'round 3']]);
});

t.test('without a pattern a restart ends where its script first uses the store', async t => {
  const ended = await runCli(t, [...restart, '--kills=1', '--after=2s', '--', ...job, steps]);

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /^sigkill +regroup +1 +0 +\d+ /m);
});

t.test('a signal ends it by that signal, and nothing of its job is left', async t => {
  const run = startCli(t, [...restart, '--step=^step of rank', '--after=1h', '--', ...job, steps]);
  await run.line(/^turn 1 of 5: regroup runs$/);
  run.kill('SIGTERM');

  t.match(await run.ended, { code: null, signal: 'SIGTERM' });
});

t.test('a job that ends, that makes no step, or cannot be started is one error', async t => {
  const step = '--step=^step of rank';
  const [ends, stays] = await Promise.all([
    runCli(t, [...restart, step, '--', ...job, 'print("so far")']),
    runCli(t, [
      ...restart,
      step,
      '--timeout=3s',
      '--',
      ...job,
      steps.replace('step of', 'part of'),
    ]),
  ]);
  const against = ['--against=/no/such/launcher', '--kills=1'];
  const missing = await runCli(t, [...restart, step, ...against, '--', ...job, steps]);

  const error = /^regroup bench: error: /m;
  t.match(ends, { code: 1, stdout: '', stderr: /it has ended with code 0 without line like/ });
  t.match(ends.stderr, /^ {2}\| so far$/m);
  t.match(stays, { code: 1, stdout: '', stderr: /no line like .* in 3000 ms/ });
  t.match(missing, { code: 1, stdout: '', stderr: /\/no\/such\/launcher could not be started/ });
  for (const { stderr } of [ends, stays, missing]) t.match(stderr, error);
});

/** Options of a job whose other node never comes. */
const waits = ['--nnodes=2', '--node-rank=1', '--master-addr=127.0.0.1', '--master-port=1'];

t.test('a job that waits for another node has no worker in time', async t => {
  const ended = await runCli(t, [
    ...['bench', 'restart', '--timeout=2s', '--', ...waits],
    ...[...job.slice(1), 'print("never")'],
  ]);

  t.match(ended, { code: 1, stdout: '', stderr: /^regroup bench: error: .* no worker in 2000 ms/ });
});

t.test('a job has what the bench was started with, secrets for agents too', async t => {
  const args = ['bench', 'restart', '--timeout=4m', '--', ...waits, ...job.slice(1), steps];

  const ended = await runCli(t, args, {
    env: { REGROUP_TOKEN: 'short' },
  });

  t.match(ended, { code: 1, stdout: '', stderr: /a token of 5 characters may be guessed/ });
});

t.test('a kill of a job that has ended before it has failed', async t => {
  const path = join(t.testdir(), 'end');
  const brief = steps.replace(
    'time.sleep(600)',
    `while not os.path.exists('${path}'): time.sleep(.01)`,
  );
  const asked = ['--kill=agent', '--kills=1', '--step=^step of rank', '--after=1h'];
  const run = startCli(t, ['bench', 'restart', ...asked, '--', ...job, brief]);
  await run.line(/^turn 1 of 1: regroup runs$/);
  writeFileSync(path, '');

  const ended = await run.ended;

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stderr, /^agent, regroup: failed: .* it has ended with code 0 before the kill; /m);
  t.match(ended.stdout, /^agent +regroup +1 +1 +–/m);
});

t.test('a wrong command line, and a file that cannot be written, are one error', async t => {
  const wrong = await runCli(t, ['bench', 'restart', '--kill=often', '--', 'train.py']);
  const path = join(t.testdir(), 'none', 'a.svg');
  const args = [...restart, '--kills=1', '--step=^step of rank', `--svg=${path}`];
  const unwritten = await runCli(t, [...args, '--', ...job, steps]);

  t.match(wrong, { code: 2, stdout: '', stderr: /^regroup bench: error: .*\n$/ });
  t.match(unwritten, { code: 1, stdout: /^sigkill /m, stderr: /error: ENOENT/ });
  t.notOk(existsSync(path));
});

t.test('its help, and a script of that name', async t => {
  const folder = t.testdir({ bench: 'print("the script")' });

  const [help, script] = await Promise.all([
    runCli(t, ['bench', '--help']),
    runCli(t, ['--standalone', './bench'], { cwd: folder }),
  ]);

  t.match(help, { code: 0, stdout: /^usage: regroup bench restart / });
  t.match(script, { code: 0, stdout: 'the script\n' });
});
