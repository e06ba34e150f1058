import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { bareCommand, type CliOptions, commandPath, startProgram } from '../../harness.js';

// Names of files, arguments and variables needn't be UTF-8: old data sets, names in Latin-1 or GBK on a file server.
// Workers get them byte by byte. Texts here are Latin-1: one character, one byte.

const fixture = (name: string) => resolve('test/fixtures', name);

/** As urllib's unquote_to_bytes wants it. */
function quoted(text: string): string {
  return text.replace(/[^\w/.=-]/g, char => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

interface Seen {
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | null>>;
  readonly cwd: string;
  readonly errorFile: string;
}

/** Runs a command with such arguments and variables. */
async function runBytes(
  t: Test,
  command: readonly string[],
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  options: CliOptions = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const given = [...variables, '--', ...command, ...args].map(quoted);
  return startProgram(t, ['python3', fixture('exec_bytes.py'), ...given], options).ended;
}

function seenIn(stdout: string): Seen {
  return JSON.parse(stdout) as Seen;
}

const e = '\xe9';
const ways = [
  { name: 'the front program', command: [commandPath()] },
  { name: 'its shell script', command: [resolve('dist/bin/regroup')] },
  { name: 'Node alone', command: bareCommand() },
] as const;

for (const { name, command } of ways) {
  t.test(`F-H4 F-F02 through ${name} arguments and variables keep every byte`, async t => {
    const args = [`caf${e}`, '', '\x01\x7f\x80\x81\x88\xff', `\xc3\xa9 ${e}`, 'a\nb\n'];
    const env = {
      DATA_DIR: `/data/bilder_\xfc`,
      [`DATA_${e}`]: `x=${e}`,
      'a.b': 'c',
      'BASH_FUNC_ml%%': '() {  echo "\xe9"\n}',
      EMPTY: '',
      IFS: ',',
      // Which shells set as well, and nobody's shell had started anything here.
      _: 'mine',
      SHLVL: '7',
      PWD: `/elsewhere/${e}`,
      OLDPWD: 'x',
    };
    const script = ['--standalone', fixture('show_bytes.py'), ...args];
    const shown = { ...env, SHOW: Object.keys(env).join(' ') };
    const { stdout, stderr } = await runBytes(t, command, script, shown);

    t.equal(stderr, '');
    t.strictSame(seenIn(stdout).args, args);
    t.strictSame(seenIn(stdout).env, env);
  });
}

/** A folder with such a name, where Node can't make one by itself, as a text of Latin-1. */
function oddFolder(t: Test): string {
  const folder = `${t.testdir({})}/d\xfc`;
  mkdirSync(Buffer.from(folder, 'latin1'));
  return folder;
}

/** In front of a command: goes to that folder. */
function inFolder(folder: string): readonly string[] {
  return ['python3', '-c', inFolderScript, quoted(folder)];
}
const inFolderScript = [
  'import os, sys, urllib.parse',
  'os.chdir(urllib.parse.unquote_to_bytes(sys.argv[1]))',
  'os.execvp(sys.argv[2], sys.argv[2:])',
].join('\n');

t.test(
  'F-H4 F-F02 a script with such a name is found, by its path and from its folder',
  async t => {
    const folder = oddFolder(t);
    const script = `${folder}/caf${e}.py`;
    writeFileSync(Buffer.from(script, 'latin1'), readFileSync(fixture('show_bytes.py')));

    const whole = await runBytes(t, [commandPath()], ['--standalone', script]);
    t.match(seenIn(whole.stdout), { script });
    for (const args of [[`caf${e}.py`], ['--run-path', `caf${e}.py`]]) {
      const beside = await runBytes(
        t,
        [commandPath()],
        ['--standalone', ...args],
        {},
        {
          under: inFolder(folder),
        },
      );
      t.match(seenIn(beside.stdout), { script: args.at(-1), cwd: folder }, args.join(' '));
    }
  },
);

t.test('F-H4 --log-dir in such a folder is made there, and the error file with it', async t => {
  const folder = oddFolder(t);
  const args = ['--log-dir', `logs${e}`, '--tee=3', '--max-restarts=1', fixture('show_bytes.py')];
  const { stdout, stderr } = await runBytes(
    t,
    [commandPath()],
    args,
    {},
    { under: inFolder(folder) },
  );

  t.equal(stderr, '');
  const names = (...below: readonly string[]) =>
    readdirSync(Buffer.from([folder, ...below].join('/'), 'latin1'), 'latin1').sort();
  t.same(names(), [`logs${e}`]);
  const [run = ''] = names(`logs${e}`);
  t.same(names(`logs${e}`, run, 'attempt_0', '0'), ['stderr.log', 'stdout.log']);
  const { errorFile } = seenIn(stdout.replace('[default0]:', ''));
  t.equal(errorFile, `${folder}/logs${e}/${run}/attempt_0/0/error.json`);
});

t.test('F-F02 an error file below such a folder is read, and copied to another', async t => {
  const folder = oddFolder(t);
  const message = '{"message": {"message": "lost", "extraInfo": {"timestamp": "1"}}}';
  const args = ['--log-dir', folder, fixture('writes_error_file.py'), message];
  const own = `${folder}/own${e}.json`;
  const { code, stderr } = await runBytes(t, [commandPath()], args, {
    TORCHELASTIC_ERROR_FILE: own,
  });

  t.equal(code, 1);
  t.match(stderr, /error_file: .*\/d\uFFFD\/.*error\.json/, 'people are shown Unicode');
  t.match(JSON.parse(readFileSync(Buffer.from(own, 'latin1'), 'utf8')), {
    message: { message: 'lost', errorCode: 7 },
  });
});

t.test('F-F02 hooks get such variables, and may be such commands', async t => {
  const folder = oddFolder(t);
  const hook = `mkdir "$DATA" && echo made > "$DATA/caf${e}"`;
  const args = ['--standalone', '--pre-start', hook, '--no-python', 'true'];
  const { code, stderr } = await runBytes(t, [commandPath()], args, { DATA: `${folder}/${e}` });

  t.match({ code, stderr }, { code: 0, stderr: '' });
  t.equal(readFileSync(Buffer.from(`${folder}/${e}/caf${e}`, 'latin1'), 'utf8'), 'made\n');
});

t.test('F-F02 --preempt-file may have such a name', async t => {
  const folder = oddFolder(t);
  const notice = `${folder}/gone${e}`;
  // The worker's own: nobody else knows when it's up.
  const script = `import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: os._exit(7))\nopen(os.environb[b"NOTICE"], "w").close()\nwhile True: signal.pause()`;
  const args = ['--preempt-file', notice, '--preempt-signal', 'SIGUSR1'];
  const program = ['--no-python', 'python3', '-c', script];
  const { code } = await runBytes(t, [commandPath()], ['--standalone', ...args, ...program], {
    NOTICE: notice,
  });

  t.equal(code, 84);
});

t.test('what is missing is named as Unicode', async t => {
  const args = ['--standalone', '--no-python', `./no${e}`];
  const { code, stderr } = await runBytes(t, [commandPath()], args);

  t.equal(code, 1);
  t.equal(
    stderr,
    "regroup: error: FileNotFoundError: [Errno 2] No such file or directory: './no\uFFFD'\n",
  );
});

t.test("F-F02 a program of one's own gets its environment to workers as it was", async t => {
  const source = `
    import { launch } from ${JSON.stringify(resolve('dist/index.js'))};
    process.env.CHANGED = 'new';
    delete process.env.GONE;
    const entrypoint = { script: ${JSON.stringify(fixture('show_bytes.py'))} };
    await launch({ entrypoint, args: ['caf\\udce9'] }).result;`;
  const file = join(t.testdir({ 'program.mjs': source }), 'program.mjs');
  const given = { DATA: `x${e}`, [`N${e}`]: '1', CHANGED: `old${e}`, GONE: e };
  const { stdout } = await runBytes(t, [process.execPath], [file], {
    ...given,
    SHOW: Object.keys(given).join(' '),
  });

  t.strictSame(seenIn(stdout).args, [`caf${e}`]);
  t.strictSame(seenIn(stdout).env, { DATA: `x${e}`, [`N${e}`]: '1', CHANGED: 'new', GONE: null });
});
