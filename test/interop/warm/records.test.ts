import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pythons } from './pythons.js';
import { learn, type Program, startStandby, textsOf } from './standby.js';

// What's recorded of a script while it's learned from, and what isn't.

t.setTimeout(600_000);

interface Setting {
  readonly program: Program;
  readonly record: string;
}

function setting(t: Test, python: string, source: string, args = ['script.py']): Setting {
  const folder = t.testdir({
    'site-packages': {
      'pack.py': 'import os, csv\nos.environ["BY_PACK"] = "1"\nrank = os.environ.get("RANK")',
      'more.py': '',
    },
    hidden: { 'site-packages': { 'hidden.py': '', 'pack.py': '' } },
    'script.py': source,
    'own.py': 'import pack',
  });
  const env = {
    PATH: '/usr/bin:/bin',
    PYTHONPATH: join(folder, 'site-packages'),
    PYTHONDONTWRITEBYTECODE: '1',
    RANK: '1',
  };
  return {
    program: { python, args: ['-u', ...args], env, cwd: folder },
    record: join(folder, 'record'),
  };
}

const flags = 'sys.setdlopenflags(sys.getdlopenflags() ^ 0x100)';

/** A script, what's recorded of it, and why that's all. */
const cases: readonly [
  title: string,
  source: string,
  acts: readonly (readonly [string, string])[],
  ends?: string,
][] = [
  [
    'writes between imports stand between them',
    'import os\nos.environ["A"] = "1"\nimport pack\nos.environ["B"] = "2"\ndel os.environ["A"]\nimport more',
    [
      ['set', 'A=1'],
      ['module', 'pack'],
      ['set', 'B=2'],
      ['unset', 'A'],
      ['module', 'more'],
    ],
  ],
  [
    'of a variable that is written often the last value counts, and none behind the last import',
    'import os\nfor i in range(99): os.environ["A"] = str(i)\nimport pack\nos.environ["A"] = "secret"',
    [
      ['set', 'A=98'],
      ['module', 'pack'],
    ],
  ],
  [
    'what modules of its own import is the script’s',
    'import own, more',
    [
      ['module', 'pack'],
      ['module', 'more'],
    ],
  ],
  [
    'a write after a look at the rank ends it',
    'import os, pack\nrank = os.environ["RANK"]\nos.environ["CUDA_VISIBLE_DEVICES"] = rank\nimport more',
    [['module', 'pack']],
    'end it sets CUDA_VISIBLE_DEVICES after it has read RANK, before it imports more',
  ],
  [
    'so does a copy of the whole environment',
    'import os, pack\nenv = dict(os.environ)\nos.environ["A"] = "1"\nimport more',
    [['module', 'pack']],
    'end it sets A after it has read RANK, before it imports more',
  ],
  [
    'so does a list of all',
    'import os, pack\nenv = {k: v for k, v in os.environ.items()}\nos.environ["A"] = env["RANK"]\nimport more',
    [['module', 'pack']],
    'end it sets A after it has read RANK, before it imports more',
  ],
  [
    'and a look at what the launcher has named',
    'import os, pack\nos.environ["A"] = os.environ.get("OWN", "1")\nimport more',
    [['module', 'pack']],
    'end it sets A after it has read OWN, before it imports more',
  ],
  [
    'a module that raises when it is looked at ends it, and the script goes on',
    'import sys, pack\nclass Odd:\n    def __getattr__(self, name): raise KeyError(name)\nsys.modules["pack"] = Odd()\nimport more',
    [['module', 'pack']],
    "end it can't be followed any further",
  ],
  [
    'a look at the rank alone does not',
    'import os\nrank = os.environ["RANK"]\nimport pack, more',
    [
      ['module', 'pack'],
      ['module', 'more'],
    ],
  ],
  [
    'before the first package that makes the script cold',
    'import os\nos.environ["A"] = os.environ["RANK"]\nimport pack',
    [],
    'unsafe it sets A after it has read RANK, before it imports pack',
  ],
  [
    'other dlopen flags make the script cold',
    `import sys\n${flags}\nimport pack`,
    [],
    'unsafe it changes dlopen flags before it imports pack',
  ],
  [
    'behind a package they end the list',
    `import sys, pack\n${flags}\nimport more`,
    [['module', 'pack']],
    'end it changes dlopen flags before it imports more',
  ],
  [
    'a module that is found by another sys.path ends the list',
    'import sys, more\nsys.path.insert(0, "hidden/site-packages")\nimport pack',
    [['module', 'more']],
    'end it changes sys.path before it imports pack',
  ],
  [
    'another sys.path that finds the same does not',
    'import sys\nsys.path.append("hidden/site-packages")\nimport pack',
    [['module', 'pack']],
  ],
  [
    'a value of several lines is not recorded',
    'import os, pack\nos.environ["A"] = "1\\nmodule os"\nimport more',
    [['module', 'pack']],
    'end it sets A to several lines before it imports more',
  ],
  [
    'a child’s imports are its own',
    'import os, pack\nif os.fork() == 0:\n    import more\n    os._exit(0)\nos.wait()',
    [['module', 'pack']],
  ],
];

const [oldest] = pythons();
const newest = pythons().at(-1);
for (const { path, version } of [oldest, newest].flatMap(each => each ?? [])) {
  for (const [title, source, acts, ends] of cases) {
    t.test(`Python ${version}: ${title}`, async t => {
      const { program, record } = setting(t, path, source);

      const { shown, learned } = await learn(t, program, record);

      t.strictSame(shown, { stdout: [''], stderr: [''], code: 0, signal: null });
      t.strictSame(learned?.acts, acts);
      const text = readFileSync(record, 'utf8');
      const last = text.split('\n').find(line => /^(end|unsafe) /.test(line));
      t.equal(last, ends);
      t.notMatch(text, /secret/);
    });
  }

  t.test(`Python ${version}: the script's own files are told, of -m as well`, async t => {
    for (const args of [['script.py'], ['-m', 'script']]) {
      const { program, record } = setting(t, path, 'import own', args);

      const { learned } = await learn(t, program, record);

      const marks = ['script.py', 'own.py'].map(name => {
        const path = join(program.cwd, name);
        const { mtimeNs, size } = statSync(path, { bigint: true });
        return { path, mark: `${mtimeNs}:${size}` };
      });
      t.strictSame(learned?.own, marks);
    }
  });

  t.test(
    `Python ${version}: a record that has gone, or is another's, is not written to`,
    async t => {
      const source = [
        'import os, pack',
        'os.rename("record", "kept")',
        'os.link("another", "record")',
        'import more',
        'print(open("record").read(), open("kept").read().count("more"))',
      ].join('\n');
      const { program, record } = setting(t, path, source);
      writeFileSync(join(program.cwd, 'another'), 'stays');

      const { shown } = await learn(t, program, record);

      t.match(shown, { stdout: ['stays 0', ''], stderr: [''], code: 0 });
    },
  );

  t.test(`Python ${version}: a record has an end`, async t => {
    const source = [
      'import os, importlib, sys',
      'import pack',
      'for i in range(400):',
      '    os.environ["A"] = str(i) * 1000',
      '    sys.modules.pop("more", None)',
      '    importlib.import_module("more")',
    ].join('\n');
    const { program, record } = setting(t, path, source);

    const { shown, learned } = await learn(t, program, record);

    t.match(shown, { stderr: [''], code: 0 });
    t.ok(statSync(record).size <= 256 << 10);
    t.ok((learned?.acts.length ?? 0) > 50);
  });

  t.test(`Python ${version}: what was set between imports is set between them`, async t => {
    const source = 'import os\nprint(1)';
    const { program } = setting(t, path, source);
    writeFileSync(
      join(program.cwd, 'site-packages/sees.py'),
      'import os\nprint(os.environ.get("A"))',
    );
    writeFileSync(
      join(program.cwd, 'script.py'),
      'import os, more\nos.environ["A"] = "1"\nimport sees\ndel os.environ["A"]\nimport pack\nprint("A" in os.environ)',
    );
    const { shown, learned } = await learn(t, program, join(program.cwd, 'record'));
    t.match(shown.stdout, ['1', 'False']);

    const standby = startStandby(t, program, { acts: learned?.acts ?? [] });
    const parked = await standby.message();
    t.strictSame(textsOf(parked, 'module'), ['more', 'sees', 'pack']);
    standby.send([
      ['type', 'order'],
      ['version', '1'],
      ...Object.entries(program.env).map(([name, value]) => ['env', `${name}=${value}`] as const),
    ]);
    await standby.message();

    t.strictSame(await standby.ended, shown);
  });
}
