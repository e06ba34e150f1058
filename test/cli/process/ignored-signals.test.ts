import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, type CliRun, commandPath, runCli, startProgram } from '../../harness.js';

// Signals that whoever starts the command ignores: nohup, `trap ''` of a batch script, a shell's background jobs. They end
// nothing, neither the command nor a worker.

const waits = resolve('test/fixtures/waits.py');

/** In front of a command: a shell that ignores these. */
function ignoring(...signals: readonly string[]): readonly string[] {
  return ['sh', '-c', `trap '' ${signals.join(' ')}; exec "$@"`, 'sh'];
}

/** A worker that has its handlers in place. */
async function startWaiting(
  t: Test,
  args: readonly string[],
  options: CliOptions & { readonly program?: string },
): Promise<CliRun> {
  const { program = commandPath(), ...rest } = options;
  const run = startProgram(t, [program, '--standalone', ...args, waits], rest);
  await run.line(/worker 0 is ready/);
  return run;
}

/** That a signal has done nothing shows by the next one, which is what ends the job. */
async function endsBySigterm(t: Test, run: CliRun): Promise<void> {
  run.kill('SIGTERM');
  const ended = await run.ended;

  t.equal(ended.code, 1);
  t.match(ended.stdout, /^worker 0 got SIGTERM\n/m);
  t.notMatch(ended.stdout, /got SIG(?!TERM)/);
  t.match(ended.stderr, /got signal: 15\n$/);
}

/** The masks of a worker. A shell would change its own. */
const shows = ['--standalone', '--no-python', 'grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status'];
const showsLimit = ['--standalone', '--no-python', 'sh', '-c', 'ulimit -Sn'];

t.test('SIGHUP', async t => {
  t.test('L-119 F-H1 F-F18e F-U2 plain nohup shields from it', async t => {
    const run = await startWaiting(t, [], { under: ['nohup'] });

    run.kill('SIGHUP');

    await endsBySigterm(t, run);
  });

  t.test('F-U2 so it does where --signals-to-handle leaves it out', async t => {
    const args = ['--signals-to-handle', 'SIGTERM,SIGINT'];
    const run = await startWaiting(t, args, { under: ['nohup'] });

    run.kill('SIGHUP');

    await endsBySigterm(t, run);
  });

  t.test('F-H1 so it does where the command starts through its shell script', async t => {
    const run = await startWaiting(t, [], {
      under: ['nohup'],
      program: resolve('dist/bin/regroup'),
    });

    run.kill('SIGHUP');

    await endsBySigterm(t, run);
  });

  t.test('F-H1 an option that names it beats nohup', async t => {
    const args = ['--signals-to-handle', 'SIGTERM,SIGHUP'];
    const run = await startWaiting(t, args, { under: ['nohup'] });

    run.kill('SIGHUP');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stdout, 'worker 0 got SIGHUP\n');
    t.match(ended.stderr, /got signal: 1\n$/);
  });

  t.test('without nohup it ends the job, as with torchrun', async t => {
    const run = await startWaiting(t, [], {});

    run.kill('SIGHUP');

    t.match((await run.ended).stdout, 'worker 0 got SIGHUP\n');
  });
});

t.test('F-H1 every signal that is ignored stays so', async t => {
  const names = 'HUP INT QUIT USR1 USR2 ALRM VTALRM XCPU IO PWR TSTP TTIN TTOU'.split(' ');
  const run = await startWaiting(t, [], { under: ignoring(...names) });

  for (const name of names) run.kill(`SIG${name}` as NodeJS.Signals);

  await endsBySigterm(t, run);
});

t.test('F-H1 the store ends by none of them either', async t => {
  const options = { under: ignoring('HUP', 'INT') };
  const run = startProgram(t, [commandPath('regroup-store'), '--host=127.0.0.1'], options);
  await run.line(/^ready /);

  run.kill('SIGHUP');
  run.kill('SIGINT');
  run.kill('SIGTERM');

  t.match(await run.ended, { code: 0, signal: null });
});

t.test('F-H1 --preempt-signal takes a signal that is ignored', async t => {
  const args = ['--preempt-signal', 'SIGUSR1'];
  const run = await startWaiting(t, args, { under: ignoring('USR1') });

  run.kill('SIGUSR1');

  t.ok(await run.line(/worker 0 got SIGUSR1/));
  run.kill('SIGTERM');
  await run.ended;
});

t.test('F-H1 --forward-signals passes on a signal that is ignored', async t => {
  const args = ['--forward-signals', 'SIGUSR2'];
  const run = await startWaiting(t, args, { under: ignoring('USR2') });

  run.kill('SIGUSR2');

  t.ok(await run.line(/worker 0 got SIGUSR2/));
  run.kill('SIGTERM');
  await run.ended;
});

t.test('workers', async t => {
  const none = `SigBlk:\t${'0'.repeat(16)}\nSigIgn:\t${'0'.repeat(16)}\n`;

  t.test('have no signal blocked or ignored where nobody asked for it', async t => {
    const { stdout } = await runCli(t, shows);

    t.match(stdout, none);
  });

  t.test('F-H1 ignore what was ignored, in every round', async t => {
    // grep ends with 2 for what isn't there.
    const args = ['--max-restarts=1', ...shows, '/nonexistent', '--no-filename', '--no-messages'];
    const { stdout } = await runCli(t, args, { under: ignoring('HUP', 'USR1', 'PIPE', 'XFSZ') });

    t.same(stdout.match(/SigIgn.*/g), Array(2).fill('SigIgn:\t0000000001001201'));
  });

  t.test('F-H1 live on when they are sent one', async t => {
    const args = ['--standalone', '--no-python', 'sh', '-c', 'kill -USR1 $$$$; echo trained'];
    const ended = await runCli(t, args, { under: ignoring('USR1') });

    t.match(ended, { code: 0, stdout: 'trained\n', stderr: '' });
  });

  t.test('F-H1 do not ignore what an option names', async t => {
    const args = ['--signals-to-handle=SIGHUP', ...shows];
    const { stdout } = await runCli(t, args, { under: ignoring('HUP', 'USR2') });

    t.match(stdout, 'SigIgn:\t0000000000000800\n');
  });

  t.test('have blocked what was blocked', async t => {
    const block = [
      'import os, signal, sys',
      'signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])',
      'signal.signal(signal.SIGPIPE, signal.SIG_DFL)',
      'signal.signal(signal.SIGXFSZ, signal.SIG_DFL)',
      'os.execv(sys.argv[1], sys.argv[1:])',
    ].join('\n');
    const { stdout } = await runCli(t, shows, { under: ['python3', '-c', block] });

    t.match(stdout, 'SigBlk:\t0000000000000800\nSigIgn:\t0000000000000000\n');
  });

  t.test("have the caller's soft limit of open files, not the one that Node raises", async t => {
    const { stdout } = await runCli(t, showsLimit, { under: ['prlimit', '--nofile=300:1000'] });

    t.equal(stdout, '300\n');
  });

  t.test('have all that through the shell script as well', async t => {
    const under = ['prlimit', '--nofile=300:1000', ...ignoring('HUP')];
    const by = (args: readonly string[]) =>
      startProgram(t, [resolve('dist/bin/regroup'), ...args], { under }).ended;

    t.match((await by(shows)).stdout, /^SigIgn:\t0000000000000001$/m);
    t.equal((await by(showsLimit)).stdout, '300\n');
  });
});

t.test('SIGTERM that is ignored ends nothing, and asks workers to end all the same', async t => {
  const args = ['--standalone', '--shutdown-timeout=3600'];
  const script = 'echo ready; exec sleep 3600';
  const run = startProgram(t, [commandPath(), ...args, '--no-python', 'sh', '-c', script], {
    under: ignoring('TERM'),
  });
  await run.line(/ready/);

  run.kill('SIGTERM');
  run.kill('SIGUSR1');

  t.match(await run.ended, { code: null, signal: 'SIGUSR1' });
});

t.test('LOGLEVEL=INFO tells what is ignored', async t => {
  const args = ['--standalone', '--no-python', 'true'];
  const { stderr } = await runCli(t, args, {
    env: { LOGLEVEL: 'INFO' },
    under: ignoring('HUP', 'USR1'),
  });

  t.match(stderr, /ignored when we were started: SIGHUP, SIGUSR1\n/);
});

t.test('--dry-run tells which signals are handled then', async t => {
  const { stdout } = await runCli(t, ['--dry-run', waits], { under: ['nohup'] });

  t.match(stdout, /signals +SIGTERM, SIGINT, SIGQUIT\n/);
});
