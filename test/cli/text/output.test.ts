// biome-ignore-all lint/suspicious/noTemplateCurlyInString: torchrun's templates
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../../harness.js';

const prints = resolve('test/fixtures/prints.py');
const twoLines = [prints, 'out:out {r}\\n', 'err:err {r}\\n'];
const sorted = (text: string) => text.split('\n').sort().join('\n').trim();

/** Runs a job that logs into a folder, gives how it ended and its files by their place in an attempt. */
async function runLogged(t: Test, args: readonly string[], env: Record<string, string> = {}) {
  const logs = join(t.testdir({ logs: {} }), 'logs');
  const ended = await runCli(t, ['--standalone', '--log-dir', logs, ...args], { env });
  const runs = readdirSync(logs);
  const run = join(logs, runs[0] ?? '');
  const file = (path: string) => readFileSync(join(run, 'attempt_0', path), 'utf8');
  return { ...ended, logs, runs, run, file };
}

function tree(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
}

t.test('log folders', async t => {
  t.test('L-070 logs lie in <run id>_<random>/attempt_<n>/<local rank>', async t => {
    const args = ['--nproc-per-node=2', '-r', '0:3,1:1', ...twoLines];
    const { code, runs, run, logs } = await runLogged(t, args);

    t.equal(code, 0);
    t.equal(runs.length, 1);
    t.match(runs[0], /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_[a-z0-9_]{8}$/);
    t.strictSame(tree(run), [
      'attempt_0',
      'attempt_0/0',
      'attempt_0/0/stderr.log',
      'attempt_0/0/stdout.log',
      'attempt_0/1',
      'attempt_0/1/stdout.log',
    ]);
    t.equal(statSync(run).mode & 0o777, 0o700);
    t.equal(
      statSync(logs).mode & 0o777,
      statSync(join(logs, '..')).mode & 0o777,
      'as the umask has it',
    );
  });

  t.test(
    'L-070 without --log-dir they lie in torchelastic_<random> of the temp dir, and stay',
    async t => {
      const tmp = join(t.testdir({ temp: {} }), 'temp');
      const args = ['--standalone', '-r', '3', ...twoLines];
      const ended = await runCli(t, args, { env: { TMPDIR: tmp } });

      t.equal(ended.code, 0);
      t.match(readdirSync(tmp), [/^torchelastic_[a-z0-9_]{8}$/]);
      t.match(tree(tmp).at(-1), /attempt_0\/0\/stdout\.log$/);
    },
  );

  t.test('L-070 a folder that nothing was written to is not left in the temp dir', async t => {
    // The harness fails this test for whatever is left.
    t.equal((await runCli(t, ['--standalone', ...twoLines])).code, 0);
  });

  t.test('L-071 a second job in the same folder leaves the first one’s logs alone', async t => {
    const logs = join(t.testdir({ logs: {} }), 'logs');
    const args = [
      '--master-port=29625',
      '--rdzv-id=same',
      '--log-dir',
      logs,
      '-r',
      '3',
      ...twoLines,
    ];

    for (const _ of [1, 2]) t.equal((await runCli(t, args)).code, 0);

    t.match(readdirSync(logs), [/^same_/, /^same_/]);
    t.equal(tree(logs).filter(path => path.endsWith('stdout.log')).length, 2);
  });
});

t.test('redirects and tee', async t => {
  t.test('without either, output goes where ours goes, as it is', async t => {
    const ended = await runCli(t, ['--standalone', ...twoLines]);

    t.match(ended, { stdout: 'out 0\n', stderr: 'err 0\n' });
  });

  t.test('pain 15: L-072 -t 3 writes files and prefixed lines', async t => {
    const { stdout, stderr, file } = await runLogged(t, [
      '--nproc-per-node=2',
      '-t',
      '3',
      ...twoLines,
    ]);

    t.equal(sorted(stdout), '[default0]:out 0\n[default1]:out 1');
    t.match(sorted(stderr), /\[default0\]:err 0\n\[default1\]:err 1/);
    t.equal(file('0/stdout.log') + file('0/stderr.log'), 'out 0\nerr 0\n');
    t.equal(file('1/stdout.log') + file('1/stderr.log'), 'out 1\nerr 1\n');
  });

  t.test('L-073 -r 0:3 hides only rank 0', async t => {
    const env = { OMP_NUM_THREADS: '1' };
    const { stdout, stderr, file } = await runLogged(
      t,
      ['--nproc-per-node=2', '-r', '0:3', ...twoLines],
      env,
    );

    t.match({ stdout, stderr }, { stdout: 'out 1\n', stderr: 'err 1\n' });
    t.equal(file('0/stdout.log') + file('0/stderr.log'), 'out 0\nerr 0\n');
  });

  t.test('L-074 -r 1 -t 2 hides one stream and shows the other', async t => {
    const { stdout, stderr, file } = await runLogged(t, ['-r', '1', '-t', '2', ...twoLines]);

    t.match({ stdout, stderr }, { stdout: '', stderr: '[default0]:err 0\n' });
    t.equal(file('0/stdout.log') + file('0/stderr.log'), 'out 0\nerr 0\n');
  });

  t.test('L-075 --role is the prefix', async t => {
    const { stdout } = await runLogged(t, ['--role', 'trainer', '-t', '1', ...twoLines]);

    t.equal(stdout, '[trainer0]:out 0\n');
  });

  t.test('L-076 a template in the environment replaces the prefix', async t => {
    const template = '[rank${rank} ${role_name} ${local_rank} ${other}]: ';
    const { stdout } = await runLogged(t, ['-t', '1', ...twoLines], {
      TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE: template,
    });

    // Names that nobody knows stay.
    t.equal(stdout, '[rank0 default 0 ${other}]: out 0\n');
  });

  t.test('L-077 the flag wins over it, and knows the host', async t => {
    const flag = '--log-line-prefix-template=<${hostname}> ';
    const { stdout } = await runLogged(t, [flag, '-t', '1', ...twoLines], {
      TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE: 'no ',
    });

    t.equal(stdout, `<${hostname()}> out 0\n`);
  });

  t.test('L-078 --local-ranks-filter silences the others, and files are complete', async t => {
    const args = ['--nproc-per-node=2', '--local-ranks-filter=0', '-t', '1', ...twoLines];
    const { stdout, stderr, file } = await runLogged(t, args, { OMP_NUM_THREADS: '1' });

    t.match({ stdout, stderr }, { stdout: '[default0]:out 0\n', stderr: 'err 0\n' });
    t.equal(file('1/stdout.log'), 'out 1\n');
  });

  t.test(
    'L-079 lines that a duplicate filter names are written once more, with their prefix',
    async t => {
      const args = ['-t', '3', '--duplicate-stdout-filters', 'loss,a,,b', prints];
      const lines = ['out:step 1\\nlo', 'out:ss 0.5\\n', 'out:a,b\\nab\\n', 'err:loss too\\n'];
      const { file, run } = await runLogged(t, [...args, ...lines]);

      t.equal(file('filtered_stdout.log'), '[default0]:loss 0.5\n[default0]:a,b\n');
      t.notOk(tree(run).includes('attempt_0/filtered_stderr.log'));
    },
  );

  t.test('L-080 bytes that are no text are passed on, and end nothing', async t => {
    const { stdout, run } = await runLogged(t, ['-t', '1', prints, 'out:a\\xff\\xc3\\nb\\n']);

    t.match(stdout, /\[default0\]:a.*\n\[default0\]:b\n$/);
    const raw = readFileSync(join(run, 'attempt_0/0/stdout.log'));
    t.equal(raw.toString('latin1'), 'a\xff\xc3\nb\n');
  });

  t.test(
    'L-124 a line that comes in pieces gets one prefix, and no piece of another rank’s',
    async t => {
      const pieces = Array.from({ length: 200 }, () => ['out:ab', 'out:c{r}', 'out:d\\n']).flat();
      const { stdout } = await runLogged(t, ['--nproc-per-node=2', '-t', '1', prints, ...pieces]);

      const lines = stdout.trimEnd().split('\n');
      for (const rank of [0, 1]) {
        const prefix = `[default${rank}]:`;
        const own = lines.filter(line => line.startsWith(prefix));
        // A rank that the machine keeps waiting amid a line has its piece shown alone, as a prompt is.
        t.equal(own.map(line => line.slice(prefix.length)).join(''), `abc${rank}d`.repeat(200));
      }
      t.notOk(lines.some(line => !/^\[default[01]\]:[abcd01]+$/.test(line)));
    },
  );

  t.test('L-124 a last line without an end is shown, and ended', async t => {
    const { stdout, file } = await runLogged(t, ['-t', '1', prints, 'out:one\\ntwo']);

    t.equal(stdout, '[default0]:one\n[default0]:two\n');
    t.equal(file('0/stdout.log'), 'one\ntwo', 'the file has what was written');
  });

  t.test('the end of a culprit’s stderr comes with the failure, where it was captured', async t => {
    const code = `import sys; print("cannot go on", file=sys.stderr); sys.exit(4)`;
    const ended = await runCli(
      t,
      ['--standalone', '-t', '2', '--no-python', 'python3', '-c', code],
      {
        mayLeave: /^torchelastic_/,
      },
    );

    t.equal(ended.code, 1);
    t.match(ended.stderr, /cannot go on[\s\S]*\| cannot go on[\s\S]*ChildFailedError/);
  });
});

t.test('stdin', async t => {
  t.test('L-039 workers read ours', async t => {
    const args = ['--standalone', '--no-python', 'cat'];
    const ended = await runCli(t, args, { stdin: 'one\ntwo\n' });

    t.match(ended, { code: 0, stdout: 'one\ntwo\n' });
  });
});
