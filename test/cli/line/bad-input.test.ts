import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { asNobody, type CliOptions, type Ended, guarded, runCli, startCli } from '../../harness.js';

const fixture = (name: string) => resolve('test/fixtures', name);
const waits = fixture('waits.py');
const megabyte = 1 << 20;
/** What a flood is here; REGROUP_TEST_FLOOD_MB=1024 is the whole of it. */
const floodBytes = Number(process.env['REGROUP_TEST_FLOOD_MB'] ?? 256) * megabyte;

/** The command refuses, with one line that has all these words, and starts no worker. */
async function refuses(
  t: Test,
  args: readonly string[],
  options: CliOptions & { readonly code?: number; readonly words: readonly (string | RegExp)[] },
): Promise<void> {
  const { code = 1, words, ...rest } = options;
  const ended = await runCli(t, args, rest);

  t.match(ended, { code, signal: null, stdout: '' });
  const line = errorLine(t, ended);
  for (const word of words) t.match(line, word);
}

/** stderr is one line, which says what's wrong. */
function errorLine(t: Test, ended: Ended): string {
  t.match(
    ended.stderr,
    /^regroup(-launch)?: error: [^\n]+\n$/,
    'one line, without a trace of ours',
  );
  return ended.stderr;
}

/** The job runs into an ordinary failure of its worker, which the report tells. */
async function failsInWorker(t: Test, args: readonly string[], because: RegExp): Promise<void> {
  const ended = await runCli(t, args);

  t.equal(ended.code, 1);
  t.match(ended.stderr, because);
  t.match(
    ended.stderr,
    /ChildFailedError: \n=+\n.* FAILED\n[\s\S]*\n=+\n(regroup: .*\n)*regroup: the job failed: .*; exit code 1\n$/,
    'F-U3: behind the report there is only the summary',
  );
}

t.test('what to run is not there', async t => {
  t.test('L-048 a script that is missing is told before anything starts', t =>
    refuses(t, ['--standalone', '/nowhere/train.py'], {
      words: ["FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/train.py'"],
    }),
  );

  t.test('F-U8: it is named with the folder that it was looked for in', async t => {
    const cwd = t.testdir({ 'train.py': '' });
    await refuses(t, ['--standalone', 'trian.py'], {
      cwd,
      words: [`'trian.py' (in ${cwd}); did you mean train.py?`],
    });
  });

  for (const [title, under, more] of [
    ['a hook that runs before may make it', {}, ['--pre-start', 'true']],
    ['an interpreter that is a script may run in a container', { PYTHON_EXEC: 'wrapper' }, []],
  ] as const) {
    t.test(`a script that is missing is Python's to tell where ${title}`, async t => {
      const cwd = t.testdir({ wrapper: '#!/bin/sh\nexec python3 "$@"\n' });
      chmodSync(join(cwd, 'wrapper'), 0o755);
      const env = 'PYTHON_EXEC' in under ? { PYTHON_EXEC: join(cwd, 'wrapper') } : {};

      const ended = await runCli(t, ['--standalone', ...more, 'nope.py'], { cwd, env });

      t.equal(ended.code, 1);
      t.match(ended.stderr, /can't open file '.*nope\.py'/);
      t.match(ended.stderr, /exitcode {2}: 2 /);
    });
  }

  t.test('G3: `regroup python train.py` is told what was meant', async t => {
    const cwd = t.testdir({ 'train.py': '' });
    await refuses(t, ['--standalone', 'python', 'train.py'], {
      cwd,
      words: ['did you mean `regroup train.py`? (--no-python runs programs)'],
    });
  });

  t.test('--dry-run tells it too, and prints the plan', async t => {
    const ended = await runCli(t, ['--standalone', '--dry-run', '/nowhere/train.py']);

    t.equal(ended.code, 0);
    t.match(ended.stderr, /^W.* FileNotFoundError: .*'\/nowhere\/train\.py'\n$/);
    t.match(ended.stdout, /^nothing is started .*[\s\S]*\/nowhere\/train\.py/);
  });

  t.test('L-047 a module that is missing too', t =>
    failsInWorker(t, ['--standalone', '-m', 'no_such_module'], /No module named no_such_module/),
  );

  t.test('L-048 a missing program is named', t =>
    refuses(t, ['--standalone', '--no-python', '/nonexist/bin'], {
      words: ["FileNotFoundError: [Errno 2] No such file or directory: '/nonexist/bin'"],
    }),
  );

  t.test('L-048 a program that PATH does not have is named', t =>
    refuses(t, ['--standalone', '--nproc-per-node=2', '--no-python', 'no-such-program', 'x'], {
      env: { OMP_NUM_THREADS: '1' },
      words: ['FileNotFoundError', 'no-such-program'],
    }),
  );

  t.test('an interpreter that is missing is named', t =>
    refuses(t, ['--standalone', waits], {
      env: { PYTHON_EXEC: '/nonexist/python' },
      words: ['FileNotFoundError', '/nonexist/python'],
    }),
  );

  t.test('a machine without any interpreter is told what to set', t =>
    refuses(t, ['--standalone', waits], {
      cwd: '/',
      env: { PATH: '/nonexist', VIRTUAL_ENV: undefined, CONDA_PREFIX: undefined },
      words: [/python/i, 'PYTHON_EXEC'],
    }),
  );

  t.test('a program that may not be executed is named', t =>
    refuses(t, ['--standalone', '--no-python', fixture('waits.py')], {
      words: [/permission denied/i, 'waits.py'],
    }),
  );

  t.test('a folder is no program', t =>
    refuses(t, ['--standalone', '--no-python', '/usr/'], {
      words: [/permission denied|directory/i, '/usr'],
    }),
  );

  t.test('a text file without #! is named, and not given to a shell', async t => {
    const folder = t.testdir({ 'script.txt': 'echo run\n' });
    const program = join(folder, 'script.txt');
    await once(spawn('chmod', ['+x', program]), 'exit');

    await refuses(t, ['--standalone', '--no-python', program], {
      words: [/exec format error|#!|ENOEXEC/i, 'script.txt'],
    });
  });
});

t.test('folders for logs', async t => {
  t.test('--log-dir that is a file', async t => {
    const path = join(t.testdir({ taken: 'text' }), 'taken');

    await refuses(t, ['--standalone', '--log-dir', path, waits], {
      words: ['log', path, 'is a file'],
    });
    t.equal(readFileSync(path, 'utf8'), 'text');
  });

  t.test('--log-dir below a file', async t => {
    const path = join(t.testdir({ taken: 'text' }), 'taken');

    await refuses(t, ['--standalone', '--log-dir', `${path}/logs`, waits], {
      words: [path, 'is a file'],
    });
  });

  t.test('--log-dir where nothing can be written', t =>
    refuses(t, ['--standalone', '--log-dir', '/proc/regroup/logs', waits], {
      words: ['/proc/regroup'],
    }),
  );

  t.test('--log-dir that another user owns', async t => {
    // Node must be readable for that user.
    const { options } = unprivileged(t, []);
    await refuses(t, ['--standalone', '--log-dir', '/root/logs', waits], {
      ...options,
      words: [/permission denied/i, '/root/logs'],
    });
  });

  t.test('a temp folder that is missing is no reason to fail', async t => {
    const args = ['--standalone', '--no-python', 'true'];
    const ended = await runCli(t, args, { env: { TMPDIR: '/nonexist/temp' } });

    t.match(ended, { code: 0, stderr: '' });
  });
});

t.test('limits', async t => {
  t.test('more workers than processes are allowed: none is left', async t => {
    // Node's own threads count as well.
    const { options } = unprivileged(t, ['prlimit', '--nproc=24:24']);
    const args = ['--standalone', '--nproc-per-node=64', '--no-python', 'sleep', '1000'];

    await refuses(t, args, {
      ...options,
      env: { ...options.env, OMP_NUM_THREADS: '1' },
      words: [/worker \d+/, /EAGAIN|temporarily unavailable/],
    });
  });

  t.test('more pipes than descriptors are allowed: none is left', async t => {
    const args = ['--standalone', '--nproc-per-node=64', '-t', '3', '--no-python', 'sleep', '1000'];

    await refuses(t, args, {
      under: ['prlimit', '--nofile=100:100'],
      env: { OMP_NUM_THREADS: '1' },
      mayLeave: /^torchelastic_/,
      words: [/EMFILE|too many open files/i],
    });
  });

  for (const [name, args] of Object.entries({
    '0': ['--nproc-per-node=0'],
    'a negative number': ['--nproc-per-node=-1'],
    'a word': ['--nproc-per-node=foo'],
  })) {
    t.test(`L-014 ${name} of workers is refused`, t =>
      refuses(t, ['--standalone', ...args, waits], { words: [/nproc[-_]per[-_]node/] }),
    );
  }
});

t.test('ports', async t => {
  t.test('a port that is in use is refused, with who has it', async t => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const { port } = server.address() as AddressInfo; // it listens on TCP

    await refuses(t, [`--master-port=${port}`, waits], {
      words: [`${port}`, /in use/, `pid ${process.pid}`],
    });
  });

  t.test('a port that is none is refused', t =>
    refuses(t, ['--master-port=70000', waits], { code: 1, words: ['70000', /port/i] }),
  );

  for (const address of ['192.0.2.1', '300.0.0.1']) {
    t.test(`--master-addr=${address}, which is no address of this machine, is refused`, t =>
      refuses(t, [`--master-addr=${address}`, '--master-port=29571', waits], {
        words: [address, /is not an address/, 'localhost'],
      }),
    );
  }

  t.test(
    'garbage on the store’s port hurts nobody who speaks its protocol, and is named',
    async t => {
      const ended = await runCli(t, ['--standalone', fixture('abuses_store.py')]);

      t.match(ended, { code: 0, stdout: 'before 1\nafter 2\nanew 3\n' });
      const lines = ended.stderr.trimEnd().split('\n');
      for (const line of lines)
        t.match(line, /^W\d{4} .* regroup\] store: closed 127\.0\.0\.1:\d+: \w/);
      for (const why of [
        /not a protocol that's served/,
        /unknown operation: 254/,
        /Invalid string size/,
      ])
        t.ok(
          lines.some(line => why.test(line)),
          `${why}`,
        );
    },
  );
});

t.test('error files', async t => {
  const texts = {
    nothing: '',
    'no JSON': '{"message": "cut of',
    'JSON of another shape': '[1, 2]',
    'an object without a message': '{"error": "x"}',
    'a message of another type': '{"message": 5}',
    'a message without extraInfo': '{"message": {"message": "it broke"}}',
    'a timestamp that is none': '{"message": "it broke", "timestamp": "soon"}',
    // The fixture writes NUL, which no argument can hold, for its symbol.
    'control characters': '\u2400\u0001\u007f',
  };
  for (const [what, text] of Object.entries(texts)) {
    t.test(`L-086 an error file with ${what} does not hide the failure`, async t => {
      const ended = await runCli(t, ['--standalone', fixture('writes_error_file.py'), text], {
        env: { PYTHONUTF8: '1' },
        mayLeave: /^torchelastic_/,
      });

      t.equal(ended.code, 1);
      t.match(
        ended.stderr,
        /Root Cause \(first observed failure\):\n\[0\]:\n[\s\S]* exitcode {2}: 7 /,
      );
      t.match(ended.stderr, /\n=+\nregroup: the job failed: .*\n$/);
      if (text.includes('it broke')) t.match(ended.stderr, /traceback : it broke\n/);
    });
  }
});

t.test('an error file of ours that cannot be written is told, and that is all', async t => {
  const args = ['--standalone', fixture('writes_error_file.py'), '{"message": "it broke"}'];
  const ended = await runCli(t, args, {
    env: { TORCHELASTIC_ERROR_FILE: '/nowhere/error.json' },
    mayLeave: /^torchelastic_/,
  });

  t.equal(ended.code, 1);
  t.match(ended.stderr, /Unable to write error to file\. .*'\/nowhere\/error.json'/);
  t.match(
    ended.stderr,
    /traceback : it broke\n=+\nregroup: the job failed: .*: it broke; see .*\n$/,
  );
});

t.test('workers that misbehave', async t => {
  for (const code of [0, 6]) {
    t.test(`a worker that closes its streams is waited for, and its ${code} counts`, async t => {
      const logs = join(t.testdir({}), 'logs');
      const args = [
        '--standalone',
        '-t',
        '3',
        '--log-dir',
        logs,
        fixture('closes_pipes.py'),
        `${code}`,
      ];
      const ended = await runCli(t, args);

      t.equal(ended.code, code === 0 ? 0 : 1);
      t.equal(ended.stdout, '[default0]:closing\n');
      if (code !== 0) t.match(ended.stderr, /exitcode {2}: 6 /);
    });
  }

  t.test('a flood without a line end is kept whole, in little memory', async t => {
    const logs = join(t.testdir({}), 'logs');
    const args = [
      '--standalone',
      '-t',
      '1',
      '--log-dir',
      logs,
      fixture('floods.py'),
      `${floodBytes}`,
    ];
    // The console's side of it goes where it costs nothing.
    const under = ['sh', '-c', 'exec "$@" >/dev/null', 'sh'];
    const run = startCli(t, args, { under });

    await run.line(/flooded/);
    const peak = Number(
      /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${run.pid}/status`, 'utf8'))?.[1],
    );
    run.kill('SIGTERM');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    const [file = ''] = readdirSync(logs, { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('stdout.log'))
      .map(path => join(logs, path));
    t.equal(statSync(file).size, floodBytes + '\nthe end\n'.length);
    t.ok(peak < 200 * 1024, `at its peak the command held ${peak} kB`);
  });

  t.test('L-060 one that ignores SIGTERM is killed when another has failed', async t => {
    const code = [
      'import os, sys, signal',
      'signal.signal(signal.SIGTERM, signal.SIG_IGN)',
      'r, w = os.environ["RANK"], os.environ["GATE"]',
      'if r == "0": open(w).read(); sys.exit(9)',
      'open(w, "w").close()',
      'signal.pause()',
    ].join('\n');
    const gate = join(t.testdir({}), 'gate');
    await once(spawn('mkfifo', [gate]), 'exit');
    const args = ['--standalone', '--nproc-per-node=2', '--shutdown-timeout=1', '--no-python'];
    const ended = await runCli(t, [...args, 'python3', '-c', code], { env: { GATE: gate } });

    t.equal(ended.code, 1);
    t.match(ended.stderr, /Unable to shutdown process \d+ via 15, forcefully exiting via 9/);
    t.match(ended.stderr, /rank {6}: 1 \(local_rank: 1\)\n {2}exitcode {2}: -9 /);
  });

  t.test('one that stops itself still gets its signal, and ends by it', async t => {
    const args = ['--standalone', '--nproc-per-node=2', fixture('stops_itself.py')];
    const run = startCli(t, args);
    const line = await run.line(/worker 0 is ready/);
    await run.line(/worker 1 is ready/);
    const pid = Number(/pid (\d+)/.exec(line)?.[1]);
    t.ok(existsSync(`/proc/${pid}`));

    run.kill('SIGTERM');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stdout, 'worker 0 got SIGTERM\n');
    t.match(ended.stdout, 'worker 1 got SIGTERM\n');
  });

  t.test('L-123 a daemon that a worker has forked twice is gone at the end', async t => {
    const ended = await runCli(t, ['--standalone', fixture('family.py'), 'daemon', '0']);

    t.equal(ended.code, 0);
    const daemon = /pid (\d+)/.exec(ended.stdout)?.[1];
    t.notMatch(stateOf(daemon), /[RSDT]/);
  });

  t.test(
    'one that starts a session for each of 300 children is gone at the end, with all of them',
    async t => {
      const script = `
      i=0
      while [ $i -lt 300 ]; do
        i=$((i + 1))
        (trap "" TERM; exec setsid sleep 1000) &
        [ $i = 20 ] && echo forking
      done
      wait`;
      const args = ['--standalone', '--shutdown-timeout=0', '--no-python', 'sh', '-c', script];
      const run = startCli(t, args);
      await run.line(/forking/);

      run.kill('SIGTERM');

      t.equal((await run.ended).code, 1);
    },
  );
});

t.test('consoles that misbehave', async t => {
  t.test('a closed stdout does not end workers that are tee’d', async t => {
    const logs = join(t.testdir({}), 'logs');
    const code = 'for i in range(100000): print("line", i)';
    const args = [
      '--standalone',
      '-t',
      '1',
      '--log-dir',
      logs,
      '--no-python',
      'python3',
      '-c',
      code,
    ];
    // head takes one line and goes; the command's own status is told on stderr.
    const under = ['bash', '-c', '"$@" | head -n 1; echo "status ${PIPESTATUS[0]}" >&2', 'bash'];
    const ended = await runCli(t, args, { under });

    t.match(ended.stderr, /status 0\n$/);
    t.equal(ended.stdout, '[default0]:line 0\n');
    t.equal(logged(logs).split('\n').length, 100_001);
  });

  t.test('a closed stdout that workers inherit is theirs to see', async t => {
    const code = 'for i in range(100000): print("line", i)';
    const args = ['--standalone', '--no-python', 'python3', '-c', code];
    const under = ['bash', '-c', '"$@" | head -n 1; echo "status ${PIPESTATUS[0]}" >&2', 'bash'];
    const ended = await runCli(t, args, { under });

    t.match(ended.stderr, /BrokenPipeError/);
    t.match(ended.stderr, /status 1\n$/);
  });

  t.test('a closed stderr does not change how the command ends', async t => {
    const args = ['--standalone', '--no-python', 'sh', '-c', 'exit 3'];
    for (const [redirection, code] of [
      ['2>&-', 1],
      ['>&- 2>&- <&-', 1],
    ] as const) {
      const under = ['sh', '-c', `exec "$@" ${redirection}`, 'sh'];
      t.equal((await runCli(t, args, { under })).code, code, redirection);
    }
  });

  t.test('a console that nobody reads does not hold up a worker', async t => {
    const logs = join(t.testdir({}), 'logs');
    const { env, tmp } = guarded(t);
    const count = 500_000;
    const code = `import sys\nfor i in range(${count}): print("a line of some length, number", i)\nprint("done", file=sys.stderr)`;
    const bin = resolve('dist/bin/regroup.cjs');
    const args = [
      '--standalone',
      '-t',
      '1',
      '--log-dir',
      logs,
      '--no-python',
      'python3',
      '-c',
      code,
    ];
    const child: ChildProcess = spawn(process.execPath, [bin, ...args], {
      env: { ...env, TMPDIR: tmp, PYTHONUNBUFFERED: undefined },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const closed = once(child, 'close');

    // The worker's last words come although not one byte of stdout has been read.
    const lines = createInterface({ input: child.stderr as NonNullable<typeof child.stderr> });
    await new Promise<void>(resolve => lines.on('line', line => line === 'done' && resolve()));
    let shown = 0;
    child.stdout?.on('data', (data: Buffer) => {
      shown += data.length;
    });

    t.strictSame(await closed, [0, null]);
    const text = logged(logs);
    t.equal(text.split('\n').length, count + 1, 'the file has every line');
    t.ok(shown > 0 && shown <= text.length + count * '[default0]:'.length);
  });
});

/** The letter of a process's state; Z is dead, and a process that's gone has none. */
function stateOf(pid: string | undefined): string {
  try {
    return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  } catch {
    return '';
  }
}

/** The only worker's stdout.log below that folder. */
function logged(logs: string): string {
  const [file] = readdirSync(logs, { recursive: true, encoding: 'utf8' }).filter(path =>
    path.endsWith('stdout.log'),
  );
  return readFileSync(join(logs, file ?? ''), 'utf8');
}

/** Root may do everything; these options make the command another user's, who may not. */
function unprivileged(t: Test, further: readonly string[]): { options: CliOptions } {
  if (process.getuid?.() !== 0) {
    t.comment('not root: run as the user that we are');
    return { options: { under: further } };
  }
  return {
    options: {
      under: [...asNobody, ...further],
      env: { TMPDIR: '/tmp', PATH: '/usr/bin:/bin', HOME: '/' },
      cwd: '/',
    },
  };
}
