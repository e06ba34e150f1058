import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import type { RunStatus } from '../../../lib/control/words.js';
import {
  asNobody,
  type CliRun,
  type Ended,
  runCli,
  startCli,
  startProgram,
} from '../../harness.js';

/** What `regroup ps` and the others do with real runs. */

const script = resolve('test/fixtures/until_stopped.py');

interface Running {
  readonly run: CliRun;
  readonly socket: string;
  /** The runtime folder that the run and the commands have. */
  readonly env: { readonly XDG_RUNTIME_DIR: string };
}

/** Not t.testdir(), which is emptied by the next call, and too long for sockets. */
function runtimeFolder(t: Test, parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'rr-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** A run whose workers are ready, and whose socket is there. */
async function started(
  t: Test,
  args: readonly string[] = [],
  nproc = 2,
  runtime = runtimeFolder(t),
): Promise<Running> {
  const env = { XDG_RUNTIME_DIR: runtime };
  const flags = ['--standalone', `--nproc-per-node=${nproc}`, '--control=on'];
  const run = startCli(t, [...flags, ...args, script], { env: { ...env, LOGLEVEL: 'INFO' } });
  const line = await run.line(/control is served at /);
  const socket = line.replace(/.*served at /, '');
  await ready(run, nproc, 0);
  return { run, socket, env };
}

async function ready(run: CliRun, nproc: number, round: number): Promise<void> {
  for (let i = 0; i < nproc; i++) await run.line(new RegExp(`rank \\d of round ${round} is ready`));
}

/** A command about this run: the machine may have others. */
function control(t: Test, { env, run }: Running, ...[command, ...args]: string[]): Promise<Ended> {
  return runCli(t, [command ?? '', ...args, '--run-id', String(run.pid)], { env });
}

async function statusOf(t: Test, running: Running): Promise<RunStatus> {
  const { stdout } = await control(t, running, 'ps', '--json');
  return JSON.parse(stdout) as RunStatus;
}

t.test('ps shows a run with its workers, and stop ends it as SIGTERM would', async t => {
  const running = await started(t, ['--max-restarts=3']);

  const status = await statusOf(t, running);
  const table = await runCli(t, ['ps', status.runId.slice(0, 8)], { env: running.env });
  const stopped = await control(t, running, 'stop');
  const ended = await running.run.ended;

  t.match(status, {
    name: 'until_stopped.py',
    pid: running.run.pid,
    phase: 'running',
    round: 0,
    restartsLeft: 3,
    maxRestarts: 3,
    groupRank: 0,
    nodes: 1,
    worldSize: 2,
    workers: [
      { rank: 0, localRank: 0, state: 'running' },
      { rank: 1, localRank: 1, state: 'running' },
    ],
  });
  t.match(table.stdout, new RegExp(`1 +1 +${status.workers[1]?.pid} +running`));
  t.match(stopped, { code: 0, stdout: /^run .* stops\n$/ });
  t.equal(ended.code, 1);
  t.match(ended.stdout, /rank 1 saves by SIGTERM/);
  t.same(readdirSync(running.env.XDG_RUNTIME_DIR), [], 'the socket and its folder are gone');
  t.match(await control(t, running, 'ps'), { code: 1, stdout: '' });
  t.match(await control(t, running, 'stop'), { code: 1, stderr: /no run/ });
});

t.test('restart begins another round that costs no restart', async t => {
  const running = await started(t, ['--max-restarts=1']);

  t.match(await control(t, running, 'restart'), { code: 0 });
  await ready(running.run, 2, 1);
  t.match(await control(t, running, 'restart'), { code: 0 });
  await ready(running.run, 2, 2);
  const status = await statusOf(t, running);
  process.kill(status.workers[1]?.pid ?? 0, 'SIGKILL');
  await running.run.line(/restarting, 0 of 1 restart left/);
  await ready(running.run, 2, 3);
  t.match(await statusOf(t, running), { round: 3, restartsLeft: 0, phase: 'running' });
  await control(t, running, 'stop');
  const ended = await running.run.ended;

  t.match(ended.stderr, /another round was asked for; it costs no restart/);
  t.equal(ended.stdout.match(/rank 0 saves by SIGTERM/g)?.length, 4);
});

t.test('dump takes stacks of the ranks that are named, and disturbs no other', async t => {
  const running = await started(t, ['--log-dir', t.testdir()]);

  const dumped = await control(t, running, 'dump', '--rank=1');
  const none = await control(t, running, 'dump', '--rank=7');
  await control(t, running, 'stop');
  await running.run.ended;

  t.match(dumped, { code: 0, stdout: /^workers wait: rank 1 in .*\n {2}\/.*\/1\/stacks\.txt\n$/ });
  const path = /^ {2}(.*)$/m.exec(dumped.stdout)?.[1] ?? '';
  t.match(readFileSync(path, 'utf8'), /^--- \d+\/wchan$/m);
  t.notOk(existsSync(path.replace('/1/stacks', '/0/stacks')));
  t.match(none, { code: 1, stderr: /none of these ranks runs here; there are 0, 1/ });
});

t.test('drain is a notice of preemption', async t => {
  const running = await started(t, ['--preempt-signal=USR1']);

  t.match(await control(t, running, 'drain'), { code: 0 });
  const ended = await running.run.ended;

  t.equal(ended.code, 0);
  t.match(ended.stdout, /rank 0 saves by SIGUSR1/);
});

t.test('logs shows what workers have written, and follows them to their end', async t => {
  const running = await started(t, ['--tee=3', '--log-dir', t.testdir()]);

  const shown = await control(t, running, 'logs', '--rank=1', '-n', '1');
  const follower = startCli(t, ['logs', '-f', String(running.run.pid)], { env: running.env });
  await follower.line(/\[0\]: rank 0 of round 0 is ready/);
  await control(t, running, 'stop');
  await running.run.ended;
  const followed = await follower.ended;

  t.match(shown, { code: 0, stdout: '[1]: rank 1 of round 0 is ready\n' });
  t.equal(followed.code, 0);
  t.match(followed.stdout, /^\[1\]: rank 1 saves by SIGTERM$/m);
});

t.test('logs follows rounds whose workers write and end at once, each to its end', async t => {
  const folder = t.testdir();
  const [go, rounds] = [join(folder, 'go'), 4];
  const env = { XDG_RUNTIME_DIR: runtimeFolder(t) };
  const flags = ['--standalone', '--nproc-per-node=2', `--max-restarts=${rounds - 1}`];
  const output = ['--redirects=3', '--log-dir', join(folder, 'logs'), '--control=on'];
  const writes = resolve('test/fixtures/writes_and_ends.py');
  const run = startCli(t, [...flags, ...output, writes, go, String(rounds)], {
    env: { ...env, LOGLEVEL: 'INFO' },
  });
  await run.line(/control is served at /);
  const follower = startCli(t, ['logs', '-f', String(run.pid)], { env });
  for (const rank of [0, 1]) await follower.line(new RegExp(`rank ${rank} waits`));

  writeFileSync(go, '');
  t.equal((await run.ended).code, 0);
  const { stdout, code } = await follower.ended;

  t.equal(code, 0);
  for (const rank of [0, 1]) {
    const of = stdout.split('\n').filter(line => line.startsWith(`[${rank}]: `));
    const all = Array.from({ length: rounds }, (_, round) => {
      const name = `[${rank}]: rank ${rank} of round ${round}:`;
      const many = Array.from({ length: 30_000 }, (_, at) => `${name} line ${at} of many`);
      return [...many, `${name} the last, é, without an end`];
    });
    t.ok(of.join() === [`[${rank}]: rank ${rank} waits`, ...all.flat()].join(), `of rank ${rank}`);
  }
});

t.test('logs of a run without files says how to have some', async t => {
  const running = await started(t, [], 1);

  t.match(await control(t, running, 'logs'), { code: 1, stderr: /--tee or --redirects/ });
  await control(t, running, 'stop');
  await running.run.ended;
});

t.test(
  'of several runs one is to be named; the socket of one that was killed is removed',
  async t => {
    const one = await started(t, [], 1);
    const again = startCli(t, ['--standalone', '--control=on', script], {
      env: { ...one.env, LOGLEVEL: 'INFO' },
      // It's killed.
      mayLeave: /^torchelastic_/,
    });
    await again.line(/control is served at /);

    t.match(await runCli(t, ['stop'], { env: one.env }), {
      code: 1,
      stderr: /several; name one:\n(.*\n)*?(.*until_stopped\.py.*\n){2}/,
    });
    t.match(await control(t, one, 'stop'), { code: 0 });
    await one.run.ended;
    again.kill('SIGKILL');
    await again.ended;
    const folder = join(one.env.XDG_RUNTIME_DIR, 'regroup');
    t.equal(readdirSync(folder).length, 1);
    t.match(await runCli(t, ['ps'], { env: one.env }), { code: 0 });
    t.notOk(existsSync(folder));
  },
);

t.test('whoever talks nonsense, much, or nothing costs the run nothing', async t => {
  const running = await started(t, [], 1);
  const peers: Socket[] = [];
  t.teardown(() => peers.map(peer => peer.destroy()));
  for (let i = 0; i < 100; i++) {
    const peer = connect(running.socket).on('error', () => {});
    peers.push(peer);
    await once(peer, 'connect');
    if (i % 4 === 0) peer.write('x'.repeat(1_000_000));
    if (i % 4 === 1) peer.write(`{"do":"dump","ranks":${'['.repeat(9000)}\n`);
    if (i % 4 === 2) peer.write('{"do":"constructor"}\n{"do":"stop"}\n');
  }

  const status = await statusOf(t, running);
  await control(t, running, 'stop');
  const ended = await running.run.ended;

  t.equal(status.phase, 'running');
  t.notMatch(ended.stderr, /Error|warning/);
});

t.test(
  'a folder that others may use is refused, and the run goes on without a word of it',
  async t => {
    const env = { XDG_RUNTIME_DIR: runtimeFolder(t) };
    const folder = join(env.XDG_RUNTIME_DIR, 'regroup');
    mkdirSync(folder);
    chmodSync(folder, 0o777);

    const on = startCli(t, ['--control=on', '--no-python', 'sh', '-c', 'read line'], {
      env,
      typing: true,
    });
    await on.line(/no control: .*regroup isn't a folder for this user alone/);
    on.type('\n');
    t.equal((await on.ended).code, 0);
    t.match(await runCli(t, ['ps'], { env }), { code: 1, stderr: /isn't a folder for this user/ });
  },
);

t.test('a path that is too long for a socket is told', async t => {
  const env = { XDG_RUNTIME_DIR: join(runtimeFolder(t), 'x'.repeat(100)) };
  mkdirSync(env.XDG_RUNTIME_DIR);

  const on = startCli(t, ['--control=on', '--no-python', 'sh', '-c', 'read line'], {
    env,
    typing: true,
  });
  await on.line(/no control: .* is \d+ bytes long, and a socket's path has 107 at most/);
  on.type('\n');
  t.equal((await on.ended).code, 0);
  t.same(readdirSync(env.XDG_RUNTIME_DIR), []);
});

t.test('another user is refused, though the folder lets them in', async t => {
  if (process.getuid?.() !== 0) return t.pass('only root can be another user');
  // Not in the tests' own folder: else it's the way there that is closed to them.
  const running = await started(t, [], 1, runtimeFolder(t, '/tmp'));
  const folder = join(running.env.XDG_RUNTIME_DIR, 'regroup');
  chmodSync(running.env.XDG_RUNTIME_DIR, 0o711);
  chmodSync(folder, 0o777);
  chmodSync(running.socket, 0o777);
  const client = `
    const peer = require('node:net').connect(process.argv[1], () => {
      console.log('connected');
      peer.write('{"do":"stop"}\\n');
    });
    peer.on('data', () => console.log('answered')).on('error', e => console.log(e.code));
    peer.on('close', () => console.log('closed'));`;

  const stranger = startProgram(t, [process.execPath, '-e', client, running.socket], {
    under: asNobody,
  });
  const said = await stranger.ended;
  chmodSync(folder, 0o700);
  const status = await statusOf(t, running);
  await control(t, running, 'stop');
  await running.run.ended;

  t.match(said.stdout, /^connected\n(.*\n)*closed\n$/);
  t.notMatch(said.stdout, /answered/);
  t.equal(status.phase, 'running');
});

t.test('a socket that nobody has asked for comes and goes without a word', async t => {
  const env = { XDG_RUNTIME_DIR: runtimeFolder(t), LOGLEVEL: 'INFO' };
  const run = startCli(t, ['--standalone', script], { env });
  await run.line(/rank 0 of round 0 is ready/);
  // By the default of the command, `auto`.
  const ask = (command: string) => runCli(t, [command, String(run.pid)], { env });
  while ((await ask('ps')).code !== 0);
  t.match(await ask('stop'), { code: 0 });

  t.notMatch((await run.ended).stderr, /control/);
  t.same(readdirSync(env.XDG_RUNTIME_DIR), []);
});

t.test('with --control=off there is no socket', async t => {
  const env = { XDG_RUNTIME_DIR: runtimeFolder(t), LOGLEVEL: 'INFO' };
  const ended = await runCli(t, ['--control=off', '--no-python', 'true'], { env });

  t.equal(ended.code, 0);
  t.notMatch(ended.stderr, /control/);
  t.same(readdirSync(env.XDG_RUNTIME_DIR), []);
});
