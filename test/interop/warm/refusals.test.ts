import { spawnSync } from 'node:child_process';
import {
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Fields, standbyFolder } from '../../../lib/preload/standby.js';
import { isAlive } from '../../processes.js';
import { pythons } from './pythons.js';
import {
  here,
  learn,
  orderOf,
  type Program,
  type Standby,
  startStandby,
  textsOf,
} from './standby.js';

// What a standby won't do, and what it says of modules that are no good for it.

t.setTimeout(600_000);

const script = 'import sys, json\nsys.stdout.write("the script ran\\n")';

/** Modules of site-packages, by a folder of that name on PYTHONPATH. */
const modules = {
  'prints.py':
    'import os, sys\nprint("out")\nsys.stderr.write("err\\n")\nos.write(1, b"raw\\n")\nos.system("echo child")',
  'hangs.py': 'import threading\nopen("hanging", "w").close()\nthreading.Event().wait()',
  'starts_thread.py':
    'import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()',
  'exits.py': 'import os\nos._exit(3)',
  'raises_exit.py': 'raise SystemExit(4)',
  'fails.py': 'import json\n1 / 0',
  'forks.py': 'import os\nforked = os.fork()',
  'runs_child.py': 'import subprocess, sys\nchild = subprocess.Popen(["sleep", "1000"])',
  'handles_signals.py': 'import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)',
  'blocks_signals.py': 'import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])',
  'changes_folder.py': 'import os\nos.chdir("/")',
  'changes_umask.py': 'import os\nos.umask(0o777)',
  'changes_affinity.py': 'import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])',
  'hooks.py': 'import sys\nsys.excepthook = print',
  'keeps_stdout.py': 'import os\ncopy = os.dup(1)',
  'reads_rank.py': 'import os\nrank = os.environ.get("RANK")',
  'reads_seed.py': 'import os\nseed = os.environ.get("MY_SEED")',
  'writes.py': 'import os\nos.environ["BY_MODULE"] = "1"',
  'loads_own.py': 'import own',
};

interface Setting {
  readonly program: Program;
  readonly folder: string;
}

function setting(t: Test, python: string, source = script): Setting {
  const folder = t.testdir({
    'site-packages': modules,
    'script.py': source,
    'own.py': '',
    ours: { 'own.py': '' },
  });
  const env = {
    PATH: '/usr/bin:/bin',
    PYTHONPATH: `${join(folder, 'site-packages')}:${join(folder, 'ours')}`,
    PYTHONDONTWRITEBYTECODE: '1',
    RANK: '1',
    STAYS: 'x',
  };
  return { folder, program: { python, args: ['-u', 'script.py', 'a'], env, cwd: folder } };
}

/** The outcome of an order: what the standby answers, and its end. */
async function order(standby: Standby, fields: Fields) {
  standby.send(fields);
  const answer = await standby.message();
  const { stdout, stderr, code } = await standby.ended;
  return {
    type: textsOf(answer, 'type')[0],
    why: textsOf(answer, 'why')[0] ?? '',
    stdout: stdout.join('\n'),
    stderr: stderr.join('\n'),
    code,
  };
}

const [oldest] = pythons();
const newest = pythons().at(-1);

for (const { path, version } of [oldest, newest].flatMap(each => each ?? [])) {
  t.test(`Python ${version}`, async t => {
    const bad: readonly [name: string, problem: RegExp][] = [
      ['starts_thread', /started a Python thread/],
      ['forks', /left 1 child process/],
      ['runs_child', /left 1 child process/],
      ['handles_signals', /changed signal handlers/],
      ['blocks_signals', /changed the signal mask/],
      ['changes_folder', /changed the working directory/],
      ['changes_umask', /changed the umask/],
      ['hooks', /changed sys\.excepthook/],
      ['keeps_stdout', /kept a copy of stdout/],
      ['loads_own', /loads_own loads .*own\.py/],
    ];
    for (const [name, problem] of bad) {
      await t.test(`a module that ${name.replace('_', ' ')} is a problem`, async t => {
        const { program } = setting(t, path);

        const standby = startStandby(t, program, { modules: ['json', name] });
        const parked = await standby.message();
        const child = readFileSync(
          `/proc/${standby.pid}/task/${standby.pid}/children`,
          'utf8',
        ).trim();
        standby.socket.destroy();
        const { code, stdout } = await standby.ended.catch(() => ({ code: 0, stdout: [''] }));

        t.match(textsOf(parked, 'problem').join('\n'), problem);
        t.equal(code, 0);
        t.strictSame(stdout, [''], 'the script has not run');
        if (child && name === 'runs_child') process.kill(Number(child), 'SIGKILL');
      });
    }

    await t.test('what fails to import is told, and the rest is imported', async t => {
      const { program } = setting(t, path);

      const standby = startStandby(t, program, {
        modules: ['nonesuch', 'fails', 'raises_exit', 'own', '../x', 'argparse'],
      });
      const parked = await standby.message();

      t.strictSame(textsOf(parked, 'missing'), [
        'nonesuch: not found',
        'fails: ZeroDivisionError: division by zero',
        'raises_exit: SystemExit: 4',
        "own: the user's own",
        "../x: not a module's name",
      ]);
      t.strictSame(textsOf(parked, 'module'), ['argparse']);
      t.strictSame(textsOf(parked, 'problem'), []);
      t.match(await order(standby, orderOf(program)), {
        type: 'started',
        stdout: /the script ran/,
      });
    });

    await t.test('a module that ends the process ends the standby', async t => {
      const { program } = setting(t, path);

      const { code, stdout } = await startStandby(t, program, { modules: ['exits'] }).ended;

      t.equal(code, 3);
      t.strictSame(stdout, [''], 'the script has not run');
    });

    await t.test('a module that hangs can be killed, and has said nothing', async t => {
      const { program } = setting(t, path);
      const fifo = join(program.cwd, 'hanging');
      spawnSync('mkfifo', [fifo]);
      const standby = startStandby(t, program, { modules: ['hangs'] });
      await readFile(fifo);

      process.kill(standby.pid, 'SIGTERM');

      const { signal, stdout } = await standby.ended;
      t.equal(signal, 'SIGTERM');
      t.strictSame(stdout, ['']);
    });

    await t.test('what an import prints is printed when the script imports it', async t => {
      const source = 'import os\nos.write(1, b"first\\n")\nimport prints\nos.write(1, b"last\\n")';
      const { program } = setting(t, path, source);
      const standby = startStandby(t, program, { modules: ['prints'] });
      await standby.message();

      const ended = await order(standby, orderOf(program));

      t.match(ended, { type: 'started', stderr: /^err$/m, code: 0 });
      t.match(ended.stdout, /^first\n(out\nraw|raw\nout)\nchild\nlast\n$/);
    });

    await t.test('what an import writes to the environment is written then', async t => {
      const source = [
        'import os',
        'before = "BY_MODULE" in os.environ',
        'import writes',
        'os.write(1, b"%d %d" % (before, os.environ["BY_MODULE"] == "1"))',
      ].join('\n');
      const { program } = setting(t, path, source);
      const standby = startStandby(t, program, { modules: ['writes'] });
      await standby.message();

      t.match(await order(standby, orderOf(program)), { stdout: '0 1' });
    });

    const refused: readonly [title: string, change: (program: Program) => Fields, why: RegExp][] = [
      ['another variable', p => orderOf(p, { ...p.env, STAYS: 'y' }), /^STAYS differs$/],
      ['a variable more', p => orderOf(p, { ...p.env, MORE: '' }), /^MORE differs$/],
      [
        'another PYTHONPATH',
        p => orderOf(p, { ...p.env, PYTHONPATH: '/x' }),
        /^PYTHONPATH differs$/,
      ],
      [
        'another rank, which an import has read',
        p => orderOf(p, { ...p.env, RANK: '2' }),
        /^RANK differs, and reads_rank has read it/,
      ],
      ['another folder', p => orderOf({ ...p, cwd: '/' }), /working directory differs/],
      [
        'other arguments',
        p => orderOf({ ...p, args: ['-u', 'script.py', 'b'] }),
        /command line differs/,
      ],
      ['a variable twice', p => [...orderOf(p), ['env', 'STAYS=x']], /STAYS twice/],
      [
        'a variable without a value',
        p => [...orderOf(p), ['env', 'BARE']],
        /BARE twice, or without a value/,
      ],
      [
        'streams without descriptors',
        p => [...orderOf(p), ['stream', '1']],
        /0 descriptors came for 1 stream/,
      ],
      [
        'a later version',
        p => [['type', 'order'], ['version', '2'], ...orderOf(p).slice(2)],
        /version 1/,
      ],
    ];
    for (const [title, change, why] of refused) {
      const needsOrigArgv = title === 'other arguments' && version === '3.9';
      await t.test(`an order with ${title} is refused`, { skip: needsOrigArgv }, async t => {
        const { program } = setting(t, path);
        const standby = startStandby(t, program, { modules: ['json', 'reads_rank'] });
        await standby.message();

        const ended = await order(standby, change(program));

        t.match(ended, { type: 'refused', why, code: 0 });
        t.equal(ended.stdout + ended.stderr, '', 'the script has not run');
      });
    }

    await t.test(
      'a file beside the script that stands before an import is a reason to refuse',
      async t => {
        const { program } = setting(t, path);
        const standby = startStandby(t, program, { modules: ['json', 'reads_seed'] });
        await standby.message();
        writeFileSync(join(program.cwd, 'json.py'), '');

        t.match(await order(standby, orderOf(program)), {
          type: 'refused',
          why: /json\.py stands before/,
        });
      },
    );

    const changes: readonly [title: string, change: (folder: string) => void, what: RegExp][] = [
      ['written', f => writeFileSync(join(f, 'site-packages/reads_seed.py'), '#\n'), /reads_seed/],
      [
        'replaced',
        f => {
          const path = join(f, 'site-packages/reads_seed.py');
          writeFileSync(`${path}.new`, modules['reads_seed.py']);
          renameSync(`${path}.new`, path);
        },
        /reads_seed/,
      ],
      ['removed', f => rmSync(join(f, 'site-packages/reads_seed.py')), /reads_seed/],
      [
        'an upgraded interpreter',
        f => {
          symlinkSync('/bin/true', join(f, 'other'));
          renameSync(join(f, 'other'), join(f, 'python'));
        },
        /\/python has changed/,
      ],
    ];
    for (const [title, change, what] of changes) {
      await t.test(`what was loaded and is changed on disk is a reason: ${title}`, async t => {
        const { program, folder } = setting(t, path);
        symlinkSync(realpathSync(path), join(folder, 'python'));
        const linked = { ...program, python: join(folder, 'python') };
        const standby = startStandby(t, linked, { modules: ['json', 'reads_seed'] });
        const parked = await standby.message();
        t.ok(textsOf(parked, 'file').includes(join(folder, 'site-packages/reads_seed.py')));
        change(folder);

        const ended = await order(standby, orderOf(linked));

        t.match(ended, { type: 'refused', why: /has changed since it was loaded/, code: 0 });
        t.match(ended.why, what);
        t.equal(ended.stdout + ended.stderr, '', 'the script has not run');
      });
    }

    await t.test('what is changed beside what was loaded is none', async t => {
      const { program, folder } = setting(t, path);
      const standby = startStandby(t, program, { modules: ['json', 'reads_seed'] });
      await standby.message();
      writeFileSync(join(folder, 'site-packages/fails.py'), '#\n');
      writeFileSync(join(folder, 'script.py'), 'import reads_seed\nprint("edited")');

      t.match(await order(standby, orderOf(program)), { type: 'started', stdout: /edited/ });
    });

    await t.test('a variable that the script changes too late is told', async t => {
      const { program } = setting(
        t,
        path,
        'import os\nos.environ["MY_SEED"] = "1"\nimport reads_seed',
      );
      const standby = startStandby(t, program, { modules: ['reads_seed'] });
      await standby.message();

      const { stderr } = await order(standby, orderOf(program));

      t.match(
        stderr,
        /^regroup: MY_SEED was changed before reads_seed was imported, .*--standby=off/,
      );
    });

    await t.test('and not where it was seen to, and replayed', async t => {
      const { program, folder } = setting(
        t,
        path,
        'import os\nos.environ["MY_SEED"] = "1"\nimport reads_seed\nos.write(1, reads_seed.seed.encode())',
      );
      const { learned } = await learn(t, program, join(folder, 'learned'));
      const standby = startStandby(t, program, { acts: learned?.acts ?? [] });
      await standby.message();

      t.match(await order(standby, orderOf(program)), { stdout: '1', stderr: '' });
      t.strictSame(learned?.acts, [
        ['set', 'MY_SEED=1'],
        ['module', 'reads_seed'],
      ]);
    });

    await t.test('its streams can be replaced with its order', async t => {
      const source = [
        'import os, sys',
        'sys.stdout.write("out %o\\n" % os.umask(0))',
        'sys.stderr.write("err\\n")',
        'os.write(1, repr(sorted(os.listdir("/proc/self/fd"))[:3]).encode())',
      ].join('\n');
      const { program } = setting(t, path, source);
      const driver = join(here, 'hands_over.py');
      const { PATH = '' } = program.env;

      const { stdout, stderr } = spawnSync(
        '/usr/bin/env',
        ['-i', `PATH=${PATH}`, path, driver, standbyFolder(), 'script.py'],
        { cwd: program.cwd, encoding: 'utf8' },
      );

      t.equal(
        stdout,
        `new: b"out 27\\n['0', '1', '2']" b'err\\n'\nold: b'' b''\ncode: 0\n`,
        stderr,
      );
    });

    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      await t.test(`a parked one ends at ${signal}, silently`, async t => {
        const { program } = setting(t, path);
        const standby = startStandby(t, program, { modules: ['json'] });
        await standby.message();

        process.kill(standby.pid, signal);

        const { stdout, stderr } = await standby.ended;
        t.strictSame([stdout, stderr], [[''], ['']]);
      });
    }

    await t.test(
      'a parked one ends with its launcher, silently; so does one that nobody tells',
      async t => {
        const { program } = setting(t, path);
        const standby = startStandby(t, program, { modules: ['json', 'prints'] });
        await standby.message();
        const threads = readdirSync(`/proc/${standby.pid}/task`).length;
        standby.socket.end();

        t.match(await standby.ended, { code: 0, stdout: [''], stderr: [''] });
        t.equal(threads, 1);
        t.notOk(isAlive(standby.pid));
      },
    );

    for (const [name, value] of [
      ['PYTHONPROFILEIMPORTTIME', '1'],
      ['PYTHONTRACEMALLOC', '1'],
      ['COVERAGE_PROCESS_START', 'x'],
    ] as const) {
      await t.test(`${name} is a problem`, async t => {
        const { program } = setting(t, path);
        const env = { ...program.env, [name]: value };
        const standby = startStandby(t, { ...program, env }, { modules: ['json'] });

        t.match(textsOf(await standby.message(), 'problem').join('\n'), name);
        standby.socket.destroy();
        await standby.ended;
      });
    }
  });
}
