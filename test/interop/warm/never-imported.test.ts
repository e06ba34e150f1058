import { join } from 'node:path';
import t from 'tap';
import { releases, torchOrSkip } from '../torch.js';
import { same } from './compare.js';
import { pythons } from './pythons.js';

// A script that ends without importing what its standby has imported ends as if nobody had.

t.setTimeout(800_000);

/** Each prints a line, and imports nothing but the standard library. */
const scripts: Readonly<Record<string, string>> = {
  'an exit code': 'import sys\nprint("ran")\nsys.exit(3)',
  'an import when the script is over':
    'import atexit\natexit.register(lambda: print("ran", __import__("json").dumps([])))',
  'a finalizer of its own':
    'import sys, weakref\nclass C: pass\nC.me = sys.me = C()\nweakref.finalize(C.me, print, "ran")\nprint(len(weakref.finalize._registry))',
  'a temporary folder that is never removed':
    'import tempfile\nfolder = tempfile.TemporaryDirectory()\nprint("ran")',
};

/** What imports leave for the end: a finalizer, and an object that says when it goes. */
const leaves = [
  'import json, sys, weakref',
  'class Left:',
  '    def __del__(self): sys.stderr.write("it goes\\n")',
  'one, two = Left(), Left()',
  'weakref.finalize(two, print, "its finalizer runs")',
  'def reaches(): return one, two',
].join('\n');

const modules = ['logging', 'weakref', 'tempfile'];

function sources(): Record<string, string> {
  return Object.fromEntries(
    Object.values(scripts).map((source, at) => [`script${at}.py`, `${source}\n`]),
  );
}

for (const { path, version } of pythons()) {
  t.test(`Python ${version}`, async t => {
    const folder = t.testdir({ ...sources(), 'site-packages': { 'leaves.py': leaves } });
    const imports = 'import weakref, leaves\nfinal = weakref.finalize(leaves, id, 1)\nprint("ran")';
    const env = { PYTHONPATH: join(folder, 'site-packages') };
    for (const [at, title] of Object.keys(scripts).entries())
      await t.test(title, t =>
        same(t, path, folder, {
          args: [`script${at}.py`],
          env,
          modules: [...modules, 'leaves'],
          shows: /ran/,
        }),
      );
    await t.test('where it is imported, it leaves what it does', t =>
      same(t, path, folder, {
        args: ['-c', imports],
        env,
        modules: [...modules, 'leaves'],
        shows: /its finalizer runs(.|\n)*it goes/,
      }),
    );
  });
}

for (const release of releases) {
  t.test(`PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const folder = t.testdir(sources());
    for (const [at, title] of Object.keys(scripts).entries())
      await t.test(title, t =>
        same(t, torch.python, folder, {
          args: [`script${at}.py`],
          modules: [...modules, 'torch'],
          shows: /ran/,
        }),
      );
  });
}
