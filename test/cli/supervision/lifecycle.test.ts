import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, isAlive, runCli, startCli } from '../../harness.js';

const fixture = (name: string) => resolve('test/fixtures', name);
const waits = fixture('waits.py');
const ends = fixture('ends.py');

/** By it the rank of ends.py that fails learns that the others are ready. */
function readyFifo(t: Test): { READY: string } {
  const READY = join(t.testdir({}), 'ready');
  execFileSync('mkfifo', [READY]);
  return { READY };
}

/** A group whose workers have their handlers in place. */
async function startWaiting(
  t: Test,
  args: readonly string[],
  options: Parameters<typeof startCli>[2] & {
    readonly nproc?: number;
    readonly ignore?: true;
  } = {},
): Promise<CliRun & { readonly workers: readonly number[] }> {
  const { nproc = 1, ignore, ...rest } = options;
  const script = [waits, ...(ignore ? ['ignore'] : [])];
  const run = startCli(t, ['--standalone', `--nproc-per-node=${nproc}`, ...args, ...script], rest);
  const lines = await Promise.all(
    Array.from({ length: nproc }, (_, rank) =>
      run.line(new RegExp(`worker ${rank} is ready, pid \\d+`)),
    ),
  );
  return { ...run, workers: lines.map(line => Number(/pid (\d+)/.exec(line)?.[1])) };
}

t.test('success and failure', async t => {
  t.test('a job whose workers all end with 0 ends with 0 and says nothing', async t => {
    const ended = await runCli(t, ['--standalone', ends, '0']);

    t.match(ended, { code: 0, signal: null, stdout: 'rank 0 of attempt 0\n', stderr: '' });
  });

  t.test('L-110 without --max-restarts the first failure ends the job', async t => {
    const ended = await runCli(t, ['--standalone', ends, '3']);

    t.equal(ended.code, 1);
    t.equal(ended.stdout, 'rank 0 of attempt 0\n');
    t.match(ended.stderr, /exitcode {2}: 3 \(pid/);
  });

  for (const how of ['3', '7', '255', '-11', '-9']) {
    t.test(`L-057 a worker that ends with ${how} makes the command end with 1`, async t => {
      const ended = await runCli(t, ['--standalone', ends, how]);

      t.equal(ended.code, 1);
      t.match(ended.stderr, `exitcode  : ${how} (pid`);
    });
  }

  t.test('L-053 restarts go on up to --max-restarts, each with its attempt and logs', async t => {
    const logs = t.testdir({});
    const args = ['--standalone', '--max-restarts=2', '-r', '3', '--log-dir', logs, ends, '3'];
    const ended = await runCli(t, args);

    t.equal(ended.code, 1);
    const run = join(logs, readdirSync(logs)[0] ?? '');
    t.strictSame(readdirSync(run).sort(), ['attempt_0', 'attempt_1', 'attempt_2']);
    const headlines = ended.stderr.split('\n').filter(line => /^regroup: worker/.test(line));
    t.match(headlines, [
      /^regroup: worker 0 \(local 0\) exited with code 3 after .*; restarting, 1 of 2 restarts left$/,
      /; restarting, 0 of 2 restarts left$/,
      /; no restarts left, the job ends$/,
    ]);
  });

  t.test('L-053 a job that succeeds after a restart ends with 0', async t => {
    // Fails as long as its attempt isn't the second.
    const script = `import os, sys; sys.exit(os.environ['TORCHELASTIC_RESTART_COUNT'] != '2')`;
    const args = ['--standalone', '--max-restarts=5', '--no-python', 'python3', '-c', script];
    const ended = await runCli(t, args);

    t.equal(ended.code, 0);
    t.notMatch(ended.stderr, /ChildFailedError/);
  });

  t.test(
    'pain 12: L-056 when a worker fails the others get SIGTERM, and wait for nobody',
    async t => {
      const args = ['--standalone', '--nproc-per-node=3', ends, '3', 'catch', 'catch'];
      const ended = await runCli(t, args, { env: readyFifo(t) });

      t.equal(ended.code, 1);
      t.match(ended.stdout, 'rank 1 got SIGTERM\n');
      t.match(ended.stdout, 'rank 2 got SIGTERM\n');
    },
  );

  t.test('L-089 the root cause is the failure that came first, whatever its rank', async t => {
    // The polling torchrun sees both at once, and names the lower rank.
    const args = ['--standalone', '--nproc-per-node=3', ends, 'wait', 'term:5', '4'];
    const ended = await runCli(t, args, { env: readyFifo(t) });

    t.match(
      ended.stderr,
      /Root Cause [^\n]*\n\[0\]:\n(.*\n){2}.* rank {6}: 2 .*\n {2}exitcode {2}: 4 /,
    );
    t.match(ended.stderr, /exitcode {2}: 5 /);
    t.match(ended.stderr, /exitcode {2}: -15 /);
  });

  t.test('L-126 death by a signal without a name is reported', async t => {
    const ended = await runCli(t, ['--standalone', ends, '-36']);

    t.equal(ended.code, 1);
    t.match(ended.stderr, /traceback : Signal 36 \(<N\/A>\) received by PID \d+\n/);
  });
});

t.test('signals', async t => {
  for (const [signal, number] of Object.entries({
    SIGTERM: 15,
    SIGINT: 2,
    SIGHUP: 1,
    SIGQUIT: 3,
  })) {
    t.test(
      `L-058 L-059 ${signal} reaches the workers as it is, and the command ends with 1`,
      async t => {
        const run = await startWaiting(t, [], { nproc: 2 });

        run.kill(signal as NodeJS.Signals); // one of the four above
        const ended = await run.ended;

        t.match(ended.stdout, `worker 0 got ${signal}\n`);
        t.match(ended.stdout, `worker 1 got ${signal}\n`);
        t.match(ended, { code: 1, signal: null });
        t.match(
          ended.stderr,
          new RegExp(`Received ${number} death signal, shutting down workers\n`),
        );
        t.match(
          ended.stderr,
          new RegExp(`SignalException: Process ${run.pid} got signal: ${number}\n$`),
        );
        t.notMatch(ended.stderr, /ChildFailedError/, 'which is no failure of a worker');
      },
    );
  }

  t.test('L-064 --signals-to-handle forwards what it names', async t => {
    const run = await startWaiting(t, ['--signals-to-handle', 'SIGUSR1, SIGTERM']);

    run.kill('SIGUSR1');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stdout, 'worker 0 got SIGUSR1\n');
    t.match(ended.stderr, /got signal: 10\n$/);
  });

  for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const) {
    t.test(
      `L-063 ${signal}, which isn't handled, stops the workers and ends the command by itself`,
      async t => {
        const run = await startWaiting(t, [], { nproc: 2 });

        run.kill(signal);
        const ended = await run.ended;

        t.match(ended, { code: null, signal });
        t.match(ended.stdout, 'worker 1 got SIGTERM\n');
      },
    );
  }

  t.test('L-063 a signal taken off the list is no longer forwarded', async t => {
    const run = await startWaiting(t, ['--signals-to-handle=SIGTERM']);

    run.kill('SIGINT');
    const ended = await run.ended;

    t.match(ended, { code: null, signal: 'SIGINT' });
    t.match(ended.stdout, 'worker 0 got SIGTERM\n');
  });

  t.test(
    'L-060 L-061 a worker that ignores the signal is killed when --shutdown-timeout ends',
    async t => {
      const run = await startWaiting(t, ['--shutdown-timeout=1'], { ignore: true });

      run.kill('SIGTERM');
      const ended = await run.ended;

      t.equal(ended.code, 1);
      t.match(ended.stdout, 'worker 0 got SIGTERM\n', 'asked first');
      const [pid] = run.workers;
      t.match(ended.stderr, `Unable to shutdown process ${pid} via 15, forcefully exiting via 9`);
    },
  );

  t.test('L-061 TORCH_ELASTIC_SHUTDOWN_TIMEOUT sets the same', async t => {
    const env = { TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '0' };
    const run = await startWaiting(t, [], { ignore: true, env });

    run.kill('SIGTERM');

    t.equal((await run.ended).code, 1);
  });

  t.test('L-061 the timeout holds when a failure stops the group, too', async t => {
    const args = ['--standalone', '--nproc-per-node=2', '--shutdown-timeout=0', ends, '3', 'wait'];
    const ended = await runCli(t, args, { env: readyFifo(t) });

    t.equal(ended.code, 1);
  });

  t.test('L-062 a second signal ends the grace period at once, and leaves nobody', async t => {
    const run = await startWaiting(t, ['--shutdown-timeout=3600'], { nproc: 2, ignore: true });

    run.kill('SIGTERM');
    await run.line(/worker 0 got SIGTERM/);
    run.kill('SIGINT');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stderr, /got signal: 15\n$/, 'the first names the reason');
  });

  t.test('L-108 SIGTERM before workers exist ends the command by it', async t => {
    const run = startCli(t, ['--standalone', waits]);

    run.kill('SIGTERM');
    const ended = await run.ended;

    t.match(ended, { code: null, signal: 'SIGTERM', stdout: '' });
  });

  t.test('L-117 so does SIGINT', async t => {
    const run = startCli(t, ['--standalone', waits]);

    run.kill('SIGINT');

    t.match(await run.ended, { code: null, signal: 'SIGINT', stdout: '' });
  });

  t.test('a signal during a restart ends the job', async t => {
    const args = [
      '--standalone',
      '--nproc-per-node=2',
      '--max-restarts=1000000',
      ends,
      '3',
      'catch',
    ];
    const run = startCli(t, args, { env: readyFifo(t) });

    await run.line(/rank 1 of attempt 2/);
    run.kill('SIGTERM');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stderr, /got signal: 15\n$/);
  });
});

t.test('nothing survives', async t => {
  // Nobody is left to remove the folder of its error files.
  const killedAgent = { mayLeave: /^torchelastic_/ };

  // `ended` settles when everybody who holds the command's output is gone, and the harness finds
  // by their environment those who don't hold it.
  t.test('L-121 L-122 workers die with an agent that is killed', async t => {
    const run = await startWaiting(t, [], { nproc: 3, ignore: true, ...killedAgent });

    run.kill('SIGKILL');
    const ended = await run.ended;

    // Which comes when the last of them, none of which closes its stdout, is ending.
    t.equal(ended.signal, 'SIGKILL');
  });

  t.test('L-121 so do workers started by --run-path', async t => {
    const run = startCli(t, ['--standalone', '--run-path', waits, 'ignore'], killedAgent);
    await run.line(/is ready/);

    run.kill('SIGKILL');

    t.equal((await run.ended).signal, 'SIGKILL');
  });

  for (const how of ['child', 'group', 'daemon']) {
    t.test(`L-123 a worker that ends with 0 leaves no ${how} behind`, async t => {
      const run = startCli(t, ['--standalone', fixture('family.py'), how, '0']);
      const relative = Number(/pid (\d+)/.exec(await run.line(/relative is ready/))?.[1]);
      const ended = await run.ended;

      t.equal(ended.code, 0);
      t.notOk(isAlive(relative));
      t.match(
        ended.stderr,
        new RegExp(`killed what workers had left behind: 1 process: \\S+ \\(pid ${relative}\\)\n`),
      );
    });

    t.test(`L-123 a worker that fails leaves no ${how} behind`, async t => {
      const ended = await runCli(t, ['--standalone', fixture('family.py'), how, '5']);

      t.equal(ended.code, 1);
      const relative = Number(/ready, pid (\d+)/.exec(ended.stdout)?.[1]);
      t.notOk(isAlive(relative));
    });

    t.test(`L-123 a worker that is stopped leaves no ${how} behind`, async t => {
      const run = startCli(t, ['--standalone', fixture('family.py'), how, 'wait']);
      const relative = Number(/pid (\d+)/.exec(await run.line(/relative is ready/))?.[1]);

      run.kill('SIGTERM');
      const ended = await run.ended;

      t.equal(ended.code, 1);
      t.notOk(isAlive(relative));
    });
  }

  t.test('L-123 what a worker that ended with 0 leaves behind is asked, then killed', async t => {
    const ended = await runCli(t, ['--standalone', fixture('family.py'), 'child', '0', 'stubborn']);

    t.equal(ended.code, 0);
    t.match(ended.stderr, /killed what workers had left behind: 1 process: \S+ \(pid \d+\)\n/);
  });

  t.test('L-065 each worker leads a session of its own', async t => {
    const out = t.testdir({});
    const args = ['--standalone', '--nproc-per-node=2', fixture('show_env.py')];
    const ended = await runCli(t, args, { env: { SHOW_DIR: out } });

    t.equal(ended.code, 0);
    for (const rank of [0, 1]) {
      const seen = JSON.parse(readFileSync(`${out}/${rank}.json`, 'utf8'));
      t.match(seen, { leadsSession: true, leadsGroup: true });
    }
  });

  t.test(
    'L-065 with --no-python the whole group gets the signal, and the grace period',
    async t => {
      // The shell dies of it at once; what it has started has something to save first.
      const script = `python3 ${waits} saves & wait; wait`;
      const run = startCli(t, ['--standalone', '--no-python', 'sh', '-c', script]);
      await run.line(/worker 0 is ready/);

      run.kill('SIGTERM');
      const ended = await run.ended;

      t.match(ended.stdout, 'worker 0 got SIGTERM\n');
      t.equal(ended.code, 1);
    },
  );

  t.test('L-065 but no longer than that', async t => {
    const script = `python3 ${waits} ignore & wait; wait`;
    const args = ['--standalone', '--shutdown-timeout=1', '--no-python', 'sh', '-c', script];
    const run = startCli(t, args);
    await run.line(/worker 0 is ready/);

    run.kill('SIGTERM');

    t.equal((await run.ended).code, 1);
  });
});
