import { execFileSync } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { AgentEvent } from '../lib/events.js';
import { launch, plan } from '../lib/launch.js';
import type { LaunchOptions } from '../lib/options/launch-options.js';
import { stubLibrary } from './gpu/stub.js';
import { guarded } from './harness.js';

/** Workers of a few lines of shell, in a temp dir that must be empty when the test ends. */
function shell(t: Test, script: string, options: Partial<LaunchOptions> = {}): LaunchOptions {
  const { env, tmp } = guarded(t);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = tmp;
  t.teardown(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  return { entrypoint: { program: 'sh' }, args: ['-c', script], stdin: 'null', env, ...options };
}

/** A named pipe: `await opened()` until a worker has written into it. */
function gate(t: Test): { readonly path: string; opened(): Promise<unknown> } {
  const path = `${t.testdir()}/gate`;
  execFileSync('mkfifo', [path]);
  return { path, opened: () => readFile(path) };
}

async function collect(events: AsyncIterable<AgentEvent>): Promise<AgentEvent[]> {
  const all: AgentEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** The next event of a kind, among all that come. */
async function next<E extends AgentEvent['event']>(
  events: AsyncIterator<AgentEvent>,
  kind: E,
): Promise<Extract<AgentEvent, { event: E }>> {
  for (;;) {
    const { done, value } = await events.next();
    if (done) throw new Error(`the events ended without ${kind}`);
    if (value.event === kind) return value as Extract<AgentEvent, { event: E }>; // just compared
  }
}

t.test("workers have this process's environment, without what's for agents alone", async t => {
  const script = 'test "$MINE" = yes && test -z "$REGROUP_TOKEN$REGROUP_ETCD_PASSWORD"';
  const { env: _, ...options } = shell(t, script);
  const variables = { MINE: 'yes', REGROUP_TOKEN: 's3cret', REGROUP_ETCD_PASSWORD: 's3cret' };
  Object.assign(process.env, variables);
  t.teardown(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });

  t.strictSame(await launch(options).result, { outcome: 'succeeded' });
});

t.test('a run whose workers end with 0 succeeds, and tells each step once', async t => {
  const run = launch(shell(t, 'exit 0', { nprocPerNode: 2 }));
  const events = collect(run.events());

  t.strictSame(await run.result, { outcome: 'succeeded' });

  const kinds = (await events).map(event => event.event);
  t.strictSame(kinds, ['round-started', 'worker-exited', 'worker-exited', 'ended']);
});

t.test('where options are from that a scheduler gave is the first event', async t => {
  const scheduler = { scheduler: 'Slurm', taken: [{ option: 'nodeRank', value: '0', from: 'A' }] };
  const run = launch(shell(t, 'exit 0', { scheduler }));
  const events = collect(run.events());
  await run.result;

  const [first, second] = await events;
  t.match(first, { event: 'scheduler-read', ...scheduler, atMs: Number });
  t.match(second, { event: 'round-started' });
});

t.test(
  'L-053 L-071 a failing job restarts up to the limit, with a new store and new folders',
  async t => {
    const logDir = t.testdir();
    const script =
      'echo "$RANK $TORCHELASTIC_RESTART_COUNT $REGROUP_ROUND $MASTER_PORT"; [ "$RANK" = 1 ] && exit 3; exec sleep 60';
    const run = launch(
      shell(t, script, { nprocPerNode: 2, maxRestarts: 2, logDir, redirects: 'both' }),
    );
    const events = collect(run.events());

    const result = await run.result;

    t.match(result, {
      outcome: 'failed',
      rootCause: { rank: 1, exitcode: 3, cause: 'own' },
    });
    const restarts = (await events).flatMap(event =>
      event.event === 'restarting' ? [event.restartsLeft] : [],
    );
    t.strictSame(restarts, [1, 0]);
    const [folder = ''] = readdirSync(logDir);
    t.strictSame(readdirSync(`${logDir}/${folder}`), ['attempt_0', 'attempt_1', 'attempt_2']);
    const lines = [0, 1, 2].map(attempt =>
      readFileSync(`${logDir}/${folder}/attempt_${attempt}/1/stdout.log`, 'utf8').trim().split(' '),
    );
    t.strictSame(
      lines.map(([rank, restartCount, round]) => [rank, restartCount, round]),
      [
        ['1', '0', '0'],
        ['1', '1', '1'],
        ['1', '2', '2'],
      ],
    );
  },
);

t.test('a restart that succeeds makes a run that succeeds', async t => {
  const run = launch(shell(t, 'exit $((1 - TORCHELASTIC_RESTART_COUNT))', { maxRestarts: 1 }));
  t.match(await run.result, { outcome: 'succeeded', restarts: { restarts: 1 } });
});

t.test('L-088 a survivor is listed behind the culprit, as stopped by us', async t => {
  // Worker 1 reads until worker 0, which keeps the pipe open for a moment, has written.
  const { path } = gate(t);
  // `$$$$` is the shell's own pid: `$$` in arguments is a dollar.
  const script = `[ "$RANK" = 0 ] && { echo >${path}; exec sleep 60; }; read _ <${path}; kill -SEGV $$$$`;
  const run = launch(shell(t, script, { nprocPerNode: 2, signalTarget: 'leader' }));

  const result = await run.result;

  t.match(result, {
    outcome: 'failed',
    rootCause: { rank: 1, exitcode: -11, exit: { how: 'signaled', signal: 'SIGSEGV' } },
    failures: [
      { rank: 1, cause: 'own', traceback: /^Signal 11 \(SIGSEGV\) received by PID \d+$/ },
      { rank: 0, cause: 'stopped-by-us', exitcode: -15 },
    ],
  });
});

t.test('L-081 L-087 an error file is in the failure, is kept, and is passed on', async t => {
  const folder = t.testdir();
  const errorFile = `${folder}/own.json`;
  const json =
    '{"message": {"message": "E: x", "extraInfo": {"py_callstack": "T", "timestamp": "9"}}}';
  const script = `echo '${json}' >"$TORCHELASTIC_ERROR_FILE"; exit 1`;
  const run = launch(shell(t, script, { errorFile, logDir: `${folder}/logs` }));

  const result = await run.result;

  t.match(result, {
    outcome: 'failed',
    rootCause: { message: 'E: x', timestamp: 9, errorFile: /error\.json$/ },
  });
  t.ok(result.outcome === 'failed' && existsSync(result.rootCause.errorFile ?? ''));
  t.equal(JSON.parse(readFileSync(errorFile, 'utf8')).message.errorCode, 1);
});

t.test('F-U3: a run tells where the output of each worker is', async t => {
  const logDir = t.testdir();
  const options = { logDir, nprocPerNode: 2, redirects: { 1: 'stderr' }, maxRestarts: 1 } as const;
  // The other one would end it before it has written.
  const script = '[ "$LOCAL_RANK" = 0 ] && exec sleep 600; echo "$LOCAL_RANK" >&2; exit 1';
  const run = launch(shell(t, script, options));
  await run.result;

  const folder = run.description.runFolder ?? '';
  t.strictSame(run.logFiles({ restartCount: 1, localRank: 0 }), { folder });
  const files = run.logFiles({ restartCount: 1, localRank: 1 });
  t.strictSame(files, { folder, stderr: `${folder}/attempt_1/1/stderr.log` });
  t.equal(readFileSync(files?.stderr ?? '', 'utf8'), '1\n');
});

t.test('F-U3: without files there is nothing to tell', async t => {
  const run = launch(shell(t, 'exit 0'));
  await run.result;

  t.equal(run.logFiles({ restartCount: 0, localRank: 0 }), undefined);
});

t.test(
  'the culprit’s last lines are in the failure, from a file and from a pipe alike',
  async t => {
    for (const output of [
      { redirects: 'stderr' },
      { tee: 'stderr', localRanksFilter: [7] },
    ] as const) {
      const logDir = t.testdir();
      const run = launch(shell(t, 'echo one >&2; echo two >&2; exit 1', { logDir, ...output }));
      t.match(await run.result, { rootCause: { tail: 'one\ntwo' } });
    }
  },
);

t.test('L-058 stop with a signal forwards it and resolves when no worker is left', async t => {
  const ready = gate(t);
  const script = `trap "exit 7" INT; echo >${ready.path}; while :; do sleep 0.01; done`;
  const run = launch(shell(t, script));
  const events = run.events()[Symbol.asyncIterator]();
  const { workers } = await next(events, 'round-started');
  await ready.opened();

  await run.stop('SIGINT');

  t.strictSame(await run.result, { outcome: 'stopped', by: 'signal', signal: 'SIGINT' });
  t.strictSame((await next(events, 'worker-exited')).exit, { how: 'exited', code: 7 });
  t.throws(() => process.kill(workers[0]?.pid ?? 0, 0), { code: 'ESRCH' });
  await run.stop();
});

t.test('L-062 a later signal ends at once what ignores the first', async t => {
  const ready = gate(t);
  const run = launch(shell(t, `trap "" TERM; echo >${ready.path}; exec sleep 60`));
  const events = run.events()[Symbol.asyncIterator]();
  await ready.opened();

  const first = run.stop('SIGTERM');
  await run.stop('SIGINT');
  await first;

  t.strictSame(await run.result, { outcome: 'stopped', by: 'signal', signal: 'SIGTERM' });
  t.match((await next(events, 'worker-exited')).exit, { how: 'signaled', signal: 'SIGKILL' });
});

t.test(
  'L-060 L-061 a worker that ignores SIGTERM is killed when the grace period ends',
  async t => {
    const ready = gate(t);
    const script = `trap "" TERM; echo >${ready.path}; exec sleep 60`;
    const run = launch(shell(t, script, { shutdownTimeoutMs: 20 }));
    const events = run.events()[Symbol.asyncIterator]();
    await ready.opened();

    await run.stop();

    t.match((await next(events, 'worker-exited')).exit, { how: 'signaled', signal: 'SIGKILL' });
    t.match(await run.result, { outcome: 'stopped', by: 'caller' });
  },
);

t.test('an abort stops the run, and its listener is gone afterwards', async t => {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = () => getEventListeners(signal, 'abort').length;
  const run = launch(shell(t, 'exec sleep 60', { signal }));
  await next(run.events()[Symbol.asyncIterator](), 'round-started');
  t.equal(listeners(), 1);

  controller.abort();

  t.strictSame(await run.result, { outcome: 'stopped', by: 'caller', signal: 'SIGTERM' });
  t.equal(listeners(), 0);
});

t.test('a signal that was aborted before starts nothing', async t => {
  const run = launch(shell(t, 'exit 1', { signal: AbortSignal.abort() }));
  t.strictSame(await run.result, { outcome: 'stopped', by: 'caller', signal: 'SIGTERM' });
});

t.test('L-108 a stop right after the launch leaves no worker', async t => {
  const run = launch(shell(t, 'exec sleep 60', { nprocPerNode: 4 }));
  await run.stop();
  t.match(await run.result, { outcome: 'stopped' });
});

t.test('leaving the block of an `await using` stops the run', async t => {
  const run = launch(shell(t, 'exec sleep 60'));
  await next(run.events()[Symbol.asyncIterator](), 'round-started');

  await run[Symbol.asyncDispose]();

  t.match(await run.result, { outcome: 'stopped', by: 'caller' });
});

t.test('L-048 a program that is not there rejects the result, and no one else notices', async t => {
  const { args, ...options } = shell(t, '');
  const run = launch({ ...options, entrypoint: { program: '/nonexist/bin' } });

  // Nobody awaits the result while the events are read: that must not end the process.
  t.strictSame(await collect(run.events()), []);

  await t.rejects(run.result, {
    code: 'ERR_NO_PROGRAM',
    message: "[Errno 2] No such file or directory: '/nonexist/bin'",
    syscall: String,
  });
  await run.stop();
});

t.test('F-U8: a signal that is passed on after the end reaches nobody', async t => {
  const run = launch(shell(t, 'exit 0'));
  t.match(await run.result, { outcome: 'succeeded' });

  run.forward('SIGKILL');
  await run.stop('SIGKILL');

  t.throws(() => run.forward('SIGTREM' as NodeJS.Signals), {
    code: 'ERR_OPTION',
    message: /^forward: "SIGTREM" is not accepted; .*did you mean SIGTERM\?$/,
  });
});

t.test('a working directory that is not there is named with the worker and the step', async t => {
  const run = launch(shell(t, 'exit 0', { cwd: '/nonexist' }));
  await t.rejects(run.result, { code: 'ERR_SPAWN', message: /^worker 0 could not start: cwd/ });
});

t.test('a port that is in use is named with its holder', async t => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(listening => server.once('listening', listening));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;

  const run = launch(shell(t, 'exit 0', { masterPort: port }));

  await t.rejects(run.result, {
    code: 'ERR_PORT',
    message: new RegExp(`127.0.0.1:${port}: the port is in use by .*\\(pid ${process.pid}\\)`),
  });
  await new Promise(closed => server.close(closed));
});

t.test(
  'L-033 a port that was asked for is the same in every round, and free at the end',
  async t => {
    const probe = createServer().listen(0, '127.0.0.1');
    await new Promise(listening => probe.once('listening', listening));
    const address = probe.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await new Promise(closed => probe.close(closed));

    for (let i = 0; i < 2; i++) {
      const script = `[ "$MASTER_PORT" = ${port} ] || exit 9; exit $((1 - TORCHELASTIC_RESTART_COUNT))`;
      const run = launch(shell(t, script, { masterPort: port, maxRestarts: 1 }));
      t.match(await run.result, { outcome: 'succeeded', restarts: { restarts: 1 } });
    }
  },
);

t.test(
  'T-067 a limit of open files that Node has not raised is raised, but not for workers',
  async t => {
    const limit = () =>
      /^Max open files +(\d+) +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    const [, , hard] = limit() ?? [];
    execFileSync('prlimit', ['--pid', `${process.pid}`, '--nofile=512:']);
    t.equal(limit()?.[1], '512');

    const run = launch(shell(t, '[ "$(ulimit -Sn)" = 512 ] && [ "$(ulimit -Hn)" != 512 ]'));

    t.strictSame(await run.result, { outcome: 'succeeded' });
    t.equal(limit()?.[1], hard);
  },
);

t.test('twenty runs at once warn of no leak', async t => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  const options = shell(t, 'exit 0');

  const results = await Promise.all(Array.from({ length: 20 }, () => launch(options).result));

  t.ok(results.every(({ outcome }) => outcome === 'succeeded'));
  process.off('warning', warn);
  t.strictSame(warnings, []);
});

t.test('a plan tells what would be launched, and makes nothing', t => {
  const options = shell(t, 'exit 0', {
    nprocPerNode: 2,
    runId: 'job',
    args: ['-c', 'echo ${local_rank}'],
    tee: { 1: 'stdout' },
  });

  const planned = plan(options);

  t.match(planned, {
    name: 'sh',
    worldSize: 2,
    masterPort: 0,
    runFolder: /\/torchelastic_XXXXXXXX\/job_XXXXXXXX$/,
    workers: [
      { rank: 0, argv: ['sh', '-c', 'echo 0'], stdout: { to: 'inherit' }, env: { RANK: '0' } },
      { rank: 1, argv: ['sh', '-c', 'echo 1'], stdout: { to: 'pipe', prefix: '[default1]:' } },
    ],
  });
  t.end();
});

/**
 * A machine with one GPU, of which NVIDIA's library, test/native/nvml_stub.c, tells nothing before the file that's returned
 * has had a writer. This process asks it once.
 */
function silentDriver(t: Test): string {
  const folder = t.testdir({ dev: { nvidia0: '' } });
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const gpu = 'device GPU-aaaa 00000000 3b 00 0\nmig MIG-5c1f\n';
  const variables = {
    ...stubLibrary(folder, `${gpu}hang nvmlInit_v2 ${fifo}\n`),
    REGROUP_GPU_DEVICES: join(folder, 'dev'),
  };
  Object.assign(process.env, variables);
  t.teardown(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
  return fifo;
}

t.test("while NVIDIA's library is asked which GPUs workers see", async t => {
  const fifo = silentDriver(t);
  const onMig = (t: Test, script: string, options: Partial<LaunchOptions>): LaunchOptions => {
    const whole = shell(t, script, { gpuWaitMs: 0, ...options });
    return { ...whole, env: { ...whole.env, CUDA_VISIBLE_DEVICES: 'MIG-5c1f' } };
  };
  const placement = { mode: 'node' } as const;
  const impossible = { placement: { mode: 'exclusive' }, nprocPerNode: 10_000 } as const;

  await t.test('a run that is stopped starts nothing', async t => {
    const run = launch(onMig(t, 'exit 1', { placement }));
    const events = collect(run.events());

    await run.stop();

    t.match(await run.result, { outcome: 'stopped', by: 'caller' });
    t.strictSame(
      (await events).map(({ event }) => event),
      ['ended'],
    );
  });

  await t.test('so does one whose signal is aborted, and it leaves no listener', async t => {
    const controller = new AbortController();
    const run = launch(onMig(t, 'exit 1', { placement, signal: controller.signal }));

    controller.abort();

    t.match(await run.result, { outcome: 'stopped' });
    t.equal(getEventListeners(controller.signal, 'abort').length, 0);
  });

  await t.test('options that are no good are refused at once', async t => {
    const wrong = { placement: { mode: 'nodes' } } as unknown as LaunchOptions;
    t.throws(() => launch(onMig(t, 'exit 0', wrong)), { code: 'ERR_OPTION' });
    const many = { placement, nprocPerNode: 'many' } as unknown as LaunchOptions;
    t.throws(() => launch(onMig(t, 'exit 0', many)), { code: 'ERR_NPROC' });
  });

  await t.test('a run that looks at no GPU starts', async t => {
    const free = launch(onMig(t, 'exit 0', {}));
    const named = launch(onMig(t, 'exit 0', { placement: { cpus: {} } }));
    const script = 'test "$CUDA_VISIBLE_DEVICES" = MIG-5c1f';
    const narrowed = launch(onMig(t, script, { gpuPerRank: true }));

    for (const run of [free, named, narrowed])
      t.strictSame(await run.result, { outcome: 'succeeded' });
  });

  await t.test('one that looks at them waits, and is told then', async t => {
    const run = launch(onMig(t, 'exit 0', { placement }));
    const events = collect(run.events());
    const other = launch(onMig(t, 'exit 0', impossible));
    await launch(onMig(t, 'exit 0', {})).result;
    t.notOk(run.description.bindings);
    t.notOk(plan(onMig(t, 'exit 0', {})).workers[0]?.gpu);

    await (await open(fifo, 'w')).close();

    t.strictSame(await run.result, { outcome: 'succeeded' });
    t.strictSame(
      (await events).map(({ event }) => event),
      ['round-started', 'worker-exited', 'ended'],
    );
    t.match(run.description.bindings, [/^CPUs /]);
    await t.rejects(other.result, { code: 'ERR_PLACEMENT' });
    t.equal(plan(onMig(t, 'exit 0', {})).workers[0]?.gpu, 'GPU-aaaa');
  });

  await t.test('what is known by then is decided at once', async t => {
    t.throws(() => launch(onMig(t, 'exit 0', impossible)), { code: 'ERR_PLACEMENT' });
    const run = launch(onMig(t, 'exit 0', { placement }));

    t.match(run.description.bindings, [/^CPUs /]);
    t.strictSame(await run.result, { outcome: 'succeeded' });
  });
});
