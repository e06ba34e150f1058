import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Case, same } from './compare.js';
import { pythons } from './pythons.js';
import { here } from './standby.js';

// A script shows all that it can observe, cold, while it's learned from, and warm with what was learned: line by line the same.

t.setTimeout(800_000);

const endings: Readonly<Record<string, { source: string; shows: RegExp; learned?: boolean }>> = {
  'an exception, with what caused it': {
    source: [
      'import json, argparse',
      'def f(x):',
      '    try:',
      '        json.loads("{")',
      '    except ValueError as error:',
      '        raise KeyError(x) from error',
      'f("key")',
    ].join('\n'),
    shows: /direct cause(.|\n)*KeyError: 'key'/,
  },
  'an exception within an import': {
    source: 'import json\nimport broken',
    shows: /broken\.py", line 1(.|\n)*ZeroDivisionError/,
  },
  'a module that is missing': { source: 'import nonesuch', shows: /No module named 'nonesuch'/ },
  'a syntax error': { source: 'x = (', shows: /SyntaxError/ },
  'a text': { source: 'import sys; sys.exit("a text")', shows: /^a text/m },
  'a code': { source: 'import sys; print("x"); sys.exit(7)', shows: /x/ },
  'a SystemExit that nobody expects': {
    source: 'print("x"); raise SystemExit([1])',
    shows: /\[1\]/,
  },
  'os._exit': { source: 'import os; print("x"); os._exit(9)', shows: /x/ },
  KeyboardInterrupt: { source: 'import time\nraise KeyboardInterrupt', shows: /KeyboardInterrupt/ },
  'SIGINT from outside': {
    source:
      'import os, signal\nprint("x")\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10 ** 9): pass',
    shows: /KeyboardInterrupt/,
  },
  SIGTERM: { source: 'import os; print("x"); os.kill(os.getpid(), 15)', shows: /x/ },
  'a crash that faulthandler reports': {
    source: 'import faulthandler, json; faulthandler.enable(); faulthandler._sigsegv()',
    shows: /Fatal Python error: Segmentation fault/,
  },
  'what runs at exit, in its order': {
    learned: true,
    source: [
      'import atexit, sys',
      'atexit.register(print, "registered before the import")',
      'import logging, weakref, concurrent.futures.thread, multiprocessing.util, threading',
      'atexit.register(print, "registered behind it")',
      'class C:\n    def __del__(self): sys.stdout.write("del\\n")',
      'c = C(); d = C()',
      'weakref.finalize(d, print, "finalized")',
      'class H(logging.Handler):',
      '    def flush(self): print("flush")',
      '    def close(self): print("close")',
      'logging.root.addHandler(H())',
      'threading.Thread(target=lambda: (__import__("time").sleep(0.05), print("thread"))).start()',
      'multiprocessing.util.Finalize(None, print, args=("pool",), exitpriority=1)',
      'print("end")',
    ].join('\n'),
    shows: /end(.|\n)*registered behind/,
  },
  'an error at exit': {
    source: 'import atexit, json\natexit.register(json.loads, "{")\nprint("x")',
    shows: /JSONDecodeError/,
  },
  'an exception in a thread': {
    source:
      'import threading\nt = threading.Thread(target=lambda: 1 / 0, name="t")\nt.start()\nt.join()',
    shows: /Exception in thread t/,
  },
};

const children = [
  'import os, sys, multiprocessing, pickle, concurrent.futures',
  'class Mine:\n    def __init__(self, x): self.x = x',
  'def seen(mine):',
  '    return (mine.x, __name__, type(mine).__module__, sys.argv, os.environ["RANK"], sorted(each for each in sys.modules if each.startswith(("_regroup", "site"))))',
  'def show(mine): print(seen(mine), flush=True)',
  'if __name__ == "__main__":',
  '    print(multiprocessing.get_start_method(), multiprocessing.current_process().name, multiprocessing.parent_process())',
  '    for how in ("fork", "spawn", "forkserver"):',
  '        context = multiprocessing.get_context(how)',
  '        p = context.Process(target=show, args=(Mine(how),)); p.start(); p.join(); print(how, p.exitcode)',
  '        with context.Pool(2) as pool: print(pool.map(seen, [Mine(1), Mine(2)]))',
  '    with concurrent.futures.ProcessPoolExecutor(1) as pool: print(pool.submit(seen, Mine(3)).result())',
].join('\n');

const runs = [
  'import runpy, sys, json',
  'print(sorted(runpy.run_path("inner.py", run_name="inner")))',
  'print(sorted(runpy.run_module("package.sub", run_name="other")))',
  'print(sys.argv, sys.modules["__main__"].__file__)',
].join('\n');

/** A folder of programs in which every case runs. */
function programs(t: Test): string {
  const folder = t.testdir({
    'children.py': children,
    'runs.py': runs,
    'inner.py': 'import json\nvalue = 1\nprint(__name__, __file__)',
    'broken.py': '1 / 0',
    package: {
      '__init__.py': 'import json',
      '__main__.py': readFileSync(observes, 'utf8'),
      'sub.py':
        'import sys\nprint(__name__, __package__, __spec__ and __spec__.name, sys.argv[1:])',
    },
    place: {
      'sitecustomize.py': 'import fractions, os\nos.environ["BY_SITE"] = "1"\nprint("site")',
    },
    ends: Object.fromEntries(
      Object.values(endings).map(({ source }, index) => [`end${index}.py`, source]),
    ),
    folder: { '__main__.py': 'import json, sys\nprint(sys.argv, sys.path[0], __spec__, __file__)' },
  });
  writeFileSync(join(folder, 'ends/broken.py'), '1 / 0\n');
  return folder;
}

const observes = join(here, 'observes.py');
const shows = /^at exit: 'first'/m;

const cases: Readonly<Record<string, Case>> = {
  'a script, with arguments': { args: [observes, 'a', '', '--b=c'], shows },
  'a module': { args: ['-m', 'package', 'a'], shows },
  "a package's module": {
    args: ['-m', 'package.sub', 'a'],
    shows: /^__main__ package package.sub/m,
  },
  'a folder': { args: ['folder', 'a'], shows: /folder/ },
  'a command': { args: ['-c', 'import sys, json; print(sys.argv, sys.path)', 'a'], shows: /-c/ },
  'a relative path': { args: ['inner.py'], shows: /inner.py/ },
  'no such script': { args: ['nonesuch.py'], shows: /can't open file/ },
  'no such module': { args: ['-m', 'nonesuch'], shows: /No module named/ },
  'runpy within': { args: ['runs.py'], shows: /inner/ },
  'child processes': { args: ['children.py', 'x'], shows: /forkserver 0/ },
  'the C locale': { args: [observes], env: { LANG: 'C' }, shows },
  'another encoding': { args: [observes], env: { PYTHONIOENCODING: 'latin-1:replace' }, shows },
  'development mode': { args: [observes], env: { PYTHONDEVMODE: '1' }, shows },
  'warnings and optimization': {
    args: [observes],
    env: { PYTHONWARNINGS: 'error::ResourceWarning,always', PYTHONOPTIMIZE: '1', PYTHONUTF8: '0' },
    shows,
  },
  'a path and a sitecustomize of its own': {
    args: [observes],
    env: { PYTHONPATH: 'place:.:' },
    shows: /^site/m,
  },
  'a sitecustomize that fails': {
    args: ['-c', 'print(1)'],
    env: { PYTHONPATH: 'ends' },
    shows: /1/,
  },
  'a library that is loaded before all others': {
    args: [observes],
    env: { LD_PRELOAD: 'libm.so.6' },
    shows,
  },
  'limits, umask and priority': {
    args: [observes],
    under: ['sh', '-c', 'ulimit -n 500; ulimit -c 0; umask 027; exec nice -n 3 "$0" "$@"'],
    shows,
  },
  'ignored signals': {
    args: [observes],
    under: ['sh', '-c', 'trap "" INT HUP; exec "$0" "$@"'],
    shows,
  },
};

/** What programs that aren't learned from find imported, whether they want it or not. */
const imported = ['json', 'argparse', 'logging', 'concurrent.futures', 'multiprocessing.util'];

const found = pythons();
/** What differs between releases of Python; the oldest and the newest run all cases. */
const everywhere = /^a script|^a module|^no such module|^child processes/;

for (const [place, { path, version }] of found.entries()) {
  const isWhole = place === 0 || place === found.length - 1;
  t.test(`Python ${version}`, async t => {
    const folder = programs(t);
    writeFileSync(join(folder, 'ends/sitecustomize.py'), 'import json\nraise ValueError("site")\n');
    for (const [title, one] of Object.entries(cases)) {
      if (!isWhole && !everywhere.test(title)) continue;
      await t.test(title, t => same(t, path, folder, one));
    }
    await t.test('a script of a virtualenv', async t => {
      const made = spawnSync(path, ['-m', 'venv', '--without-pip', join(folder, 'venv')]);
      if (made.status !== 0) return t.plan(0, `this Python makes none: ${made.stderr}`);
      await same(t, join(folder, 'venv/bin/python'), folder, {
        args: [observes],
        env: { VIRTUAL_ENV: join(folder, 'venv') },
        shows: /^prefixes: .*\/venv/m,
      });
    });
    for (const [index, [title, { shows, learned }]] of Object.entries(endings).entries()) {
      if (!isWhole && index > 0) break;
      await t.test(`it ends by ${title}`, t =>
        same(t, path, folder, {
          args: [`ends/end${index}.py`],
          ...(learned ? {} : { modules: imported }),
          shows,
          except: /^(Current t|T)hread 0x/,
        }),
      );
    }
  });
}
