import { execFileSync, spawnSync } from 'node:child_process';
import { constants, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  type CliOptions,
  type CliRun,
  cleanEnv,
  commandPath,
  runCli,
  startCli,
} from '../../harness.js';

/** Consoles that nobody reads, or not yet, or slowly. */

// Some wait for seconds until nobody is waited for any longer.
t.setTimeout(850_000);

const unread = resolve('test/fixtures/unread.py');
const waits = resolve('test/fixtures/waits.py');

/** stdout (1) or stderr (2) is a full pipe that nobody reads until `open()`. */
function unreadUntil(t: Test, fds: string): { under: readonly string[]; open(): void } {
  const gate = join(t.testdir({}), 'gate');
  execFileSync('mkfifo', [gate]);
  return { under: ['python3', unread, fds, gate], open: () => writeFileSync(gate, '') };
}

const neverRead = (fds: string): readonly string[] => ['python3', unread, fds, 'never'];

/** Two workers that print so many lines, through --tee; resolves when the run has ended but for its console. */
async function startTalking(t: Test, lines: number, options: CliOptions): Promise<CliRun> {
  const code = `for i in range(${lines}): print("line %06d %s" % (i, "y" * 80))`;
  const folder = t.testdirName;
  const args = ['--standalone', '--nproc-per-node=2', '--tee=1', `--log-dir=${folder}/logs`];
  const run = startCli(t, [...args, '--no-python', 'python3', '-c', code], {
    ...options,
    env: { OMP_NUM_THREADS: '1', LOGLEVEL: 'INFO' },
  });
  await run.line(/worker group succeeded/);
  return run;
}

/** Whether some thread of it waits in a write to a pipe. Nothing tells of that but looking. */
async function blocksOnPipe(pid: number): Promise<void> {
  for (;;) {
    const threads = readdirSync(`/proc/${pid}/task`);
    const waits = threads.map(thread => readFileSync(`/proc/${pid}/task/${thread}/wchan`, 'utf8'));
    if (waits.some(wait => wait.includes('pipe_write'))) return;
    await sleep(5);
  }
}

t.test('nobody reads what regroup itself says', async t => {
  t.test('F-N11 F-F14: a signal stops the workers, and the command ends', async t => {
    const run = startCli(t, ['--standalone', waits], { under: neverRead('2') });
    await run.line(/is ready/);

    run.kill('SIGTERM');
    const ended = await run.ended;

    t.match(ended, { code: 1, signal: null });
    t.match(ended.stdout, 'worker 0 got SIGTERM\n');
  });

  t.test('F-N11 F-F14: a failure is followed by the next round', async t => {
    const script =
      'echo "round $TORCHELASTIC_RESTART_COUNT"; exit $((1 - TORCHELASTIC_RESTART_COUNT))';
    const args = ['--standalone', '--max-restarts=1', '--no-python', 'sh', '-c', script];

    const ended = await runCli(t, args, { under: neverRead('2') });

    t.match(ended, { code: 0, stdout: 'round 0\nround 1\n' });
  });

  t.test('F-N11: whoever reads it later finds it all, in its order', async t => {
    const { under, open } = unreadUntil(t, '2');
    const run = startCli(t, ['--standalone', '--nproc-per-node=2', waits], {
      under,
      env: { LOGLEVEL: 'INFO', OMP_NUM_THREADS: undefined },
    });
    await run.line(/is ready/);
    await run.line(/is ready/);
    run.kill('SIGTERM');
    await run.line(/got SIGTERM/);
    await run.line(/got SIGTERM/);
    open();
    const { code, stderr } = await run.ended;

    t.equal(code, 1);
    t.match(
      stderr,
      /^I.*Starting elastic_operator[\s\S]*OMP_NUM_THREADS[\s\S]*Received 15 death[\s\S]*got signal: 15\n$/,
    );
  });

  t.test('F-N11: --help waits for its reader, and hears signals', async t => {
    const run = startCli(t, ['--help'], { under: neverRead('1') });
    await blocksOnPipe(run.pid);

    run.kill('SIGTERM');

    t.match(await run.ended, { code: null, signal: 'SIGTERM' });
  });

  t.test('F-N11: a slow reader of --help gets all of it', async t => {
    const whole = await runCli(t, ['--help']);
    const { under, open } = unreadUntil(t, '1');
    const run = startCli(t, ['--help'], { under });
    await blocksOnPipe(run.pid);
    open();

    t.match(await run.ended, { code: 0, stdout: whole.stdout });
  });

  t.test('F-N11: regroup-store serves, and ends, though nobody reads that it is ready', async t => {
    const options = { command: 'regroup-store', stdin: '', under: neverRead('12') } as const;

    t.match(await runCli(t, [], options), { code: 0, signal: null });
  });
});

t.test('nobody reads what workers say', async t => {
  t.test('F-H2: a reader that comes late gets every line, in each worker’s order', async t => {
    const { under, open } = unreadUntil(t, '1');
    const lines = 60_000; // much more than a pipe and our queue take
    const run = await startTalking(t, lines, { under });
    open();
    const { code, stdout, stderr } = await run.ended;

    t.equal(code, 0);
    t.notMatch(stderr, /dropped|not read/);
    const shown = stdout.trimEnd().split('\n');
    t.equal(shown.length, 2 * lines);
    for (const rank of [0, 1]) {
      const own = shown.filter(line => line.startsWith(`[default${rank}]:line `));
      const numbers = own.map(line => Number(line.slice(16, 22)));
      t.ok(own.length === lines && numbers.every((number, i) => number === i), `rank ${rank}`);
    }
  });

  t.test('F-H2: a signal ends the wait for a reader, and what was not read is told', async t => {
    t.testdir({});
    const run = await startTalking(t, 60_000, { under: neverRead('1') });

    run.kill('SIGTERM');
    const { code, stderr } = await run.ended;

    t.equal(code, 0, 'the workers had ended well');
    t.match(stderr, /\d+ lines of the workers' output were not read; the log files have them\n$/);
    const files = readdirSync(t.testdirName, { recursive: true, encoding: 'utf8' });
    const outputs = files.filter(path => path.endsWith('stdout.log'));
    const logs = outputs.map(path => readFileSync(join(t.testdirName, path), 'utf8'));
    t.strictSame(
      logs.map(text => text.split('\n').length - 1),
      [60_000, 60_000],
    );
  });

  t.test('F-H2: a restart does not wait for the reader', async t => {
    const { under, open } = unreadUntil(t, '1');
    const code =
      'import os\nn = int(os.environ["TORCHELASTIC_RESTART_COUNT"])\n' +
      'for i in range(40000): print("round %d line %06d %s" % (n, i, "y" * 80))\nos.sys.exit(n < 1)';
    const logs = `--log-dir=${t.testdirName}/logs`;
    const args = ['--standalone', '--max-restarts=1', '--tee=1', logs, '--no-python'];
    const run = startCli(t, [...args, 'python3', '-c', code], {
      under,
      env: { LOGLEVEL: 'INFO' },
    });
    await run.line(/worker group succeeded/);
    open();
    const { code: exit, stdout } = await run.ended;

    t.equal(exit, 0);
    const numbers = stdout
      .trimEnd()
      .split('\n')
      .map(line => /^\[default0\]:round (\d) line (\d{6}) y{80}$/.exec(line))
      .map(match => Number(match?.[1]) * 40_000 + Number(match?.[2]));
    t.ok(
      numbers.length === 80_000 && numbers.every((number, i) => number === i),
      'the first round comes first, and whole',
    );
  });
});

t.test('F-H5: a prompt is shown before its line ends, and the answer behind it', async t => {
  const code =
    'import sys; sys.stdout.write("Go on? "); sys.stdout.flush(); print("said", input())';
  const logs = `--log-dir=${t.testdirName}/logs`;
  t.testdir({});
  const args = ['--standalone', '--tee=1', logs, '--no-python', 'python3', '-c', code];
  const run = startCli(t, args, { typing: true });

  await run.shows('[default0]:Go on? ');
  run.type('yes\n');

  t.match(await run.ended, { code: 0, stdout: '[default0]:Go on? said yes\n' });
});

t.test('G2: a stopped regroup lets a worker write 1 MB, and loses none of it', async t => {
  const script = resolve('test/fixtures/outpaces_stop.py');
  t.testdir({});
  const args = ['--standalone', '--tee=1', `--log-dir=${t.testdirName}/logs`, script];

  const { code, stdout, stderr } = await runCli(t, args);

  t.equal(code, 0);
  t.match(stderr, 'written while regroup was stopped: 10000\n');
  t.equal(stdout, `[default0]:${'x'.repeat(99)}\n`.repeat(10_000));
});

t.test(
  'a console stays as it was for others who have it, also when sockets have come and gone',
  async t => {
    const endpoint = ['--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:1'];
    const waits = ['--nnodes=2', ...endpoint, '--rdzv-conf=is_host=0,join_timeout=1'];
    const script = '"$@"; for fd in 1 2; do grep flags /proc/self/fdinfo/$fd; done';

    const { stdout, stderr } = spawnSync(
      'sh',
      ['-c', script, 'sh', commandPath(), ...waits, '--no-python', 'true'],
      { env: cleanEnv({}), encoding: 'utf8' },
    );

    t.match(stderr, /2 nodes are needed|no node serves/);
    const flags = stdout.match(/(?<=flags:\s+)\d+/g)?.map(each => Number.parseInt(each, 8));
    t.equal(flags?.length, 2, stdout);
    for (const each of flags ?? []) t.equal(each & constants.O_NONBLOCK, 0, each.toString(8));
  },
);
