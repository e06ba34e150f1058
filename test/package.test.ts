import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import t from 'tap';
import { cleanEnv } from './harness.js';

// Packing and three installations take a busy machine minutes.
t.setTimeout(890_000);

/** What `npm run prebuild` and `npm pack` need of a checkout. */
const sources = [
  'package.json',
  'binding.gyp',
  'native',
  'python',
  'schema',
  'dist',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
];

/** As where scripts don't run and nothing can be built: the prebuilt binary or none. */
const env = cleanEnv({ PREBUILDS_ONLY: '1' });

function run(
  command: string,
  args: readonly string[],
  cwd: string,
  added: NodeJS.ProcessEnv = {},
): string {
  const { stdout, stderr, status, error } = spawnSync(command, args, {
    cwd,
    env: { ...env, ...added },
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(
      `${command} ${args.join(' ')}: ${error?.message ?? status}\n${stdout}\n${stderr}`,
    );
  }
  return stdout;
}

/** Packs folders and gives the paths of their tarballs. */
function pack(folders: readonly string[], into: string): string[] {
  const args = ['pack', '--ignore-scripts', '--silent', '--pack-destination', into, ...folders];
  return run('npm', args, into)
    .trim()
    .split('\n')
    .map(name => join(into, name));
}

/**
 * Stands for node-gyp, which would compile in minutes what it has just compiled for the tests, from the same
 * sources: it leaves that build instead.
 */
function placeNodeGyp(dir: string): string {
  const program = join(dir, 'node-gyp');
  const script = [
    '#!/bin/sh -e',
    '[ "$1" = rebuild ]',
    'mkdir build',
    'built=$PWD/build',
    `cd '${resolve('build')}'`,
    // Links between the two stay links, so that what is stripped there is stripped here.
    'cp -a --parents artifacts Release/regroup* "$built"',
  ];
  writeFileSync(program, `${script.join('\n')}\n`);
  chmodSync(program, 0o755);
  return program;
}

/**
 * What is packed is a copy, so that this checkout's build stays as it is. Dependencies come out of node_modules,
 * so that nothing is downloaded.
 */
function packTarballs(dir: string): readonly string[] {
  const copy = join(dir, 'checkout');
  mkdirSync(copy);
  for (const source of sources) {
    if (existsSync(source)) cpSync(source, join(copy, source), { recursive: true });
  }
  symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));

  run('npm', ['run', 'prebuild'], copy, { PREBUILD_NODE_GYP: placeNodeGyp(dir) });
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const needed = withTheirs(Object.keys(dependencies));
  return pack([copy, ...needed.map(name => resolve('node_modules', name))], dir);
}

/** Dependencies, and what they depend on in turn. */
function withTheirs(names: readonly string[]): readonly string[] {
  const all = new Set(names);
  // What is added meanwhile is looked at, too.
  for (const name of all) {
    const text = readFileSync(join('node_modules', name, 'package.json'), 'utf8');
    const { dependencies = {} } = JSON.parse(text) as { dependencies?: Record<string, string> };
    for (const each of Object.keys(dependencies)) all.add(each);
  }
  return [...all];
}

function install(
  tarballs: readonly string[],
  folder: string,
  options: readonly string[],
  added: NodeJS.ProcessEnv = {},
): string {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  run('npm', ['install', '--offline', '--no-audit', ...options, ...tarballs], folder, added);
  return folder;
}

/** Beside an installed package: links as `npm install -g`, `npm link` and people make them. */
function linksTo(installed: string, into: string): readonly string[] {
  const global = join(into, 'global');
  mkdirSync(join(global, 'bin'), { recursive: true });
  mkdirSync(join(global, 'lib'));
  symlinkSync(join(installed, 'node_modules'), join(global, 'lib/node_modules'));
  symlinkSync('../lib/node_modules/regroup/dist/bin/regroup', join(global, 'bin/regroup'));
  symlinkSync('bin/regroup', join(global, 'regroup'));
  symlinkSync(join(installed, 'node_modules/.bin/regroup'), join(into, 'regroup'));
  return [
    join(installed, 'node_modules/.bin/regroup'),
    join(installed, 'node_modules/regroup/dist/bin/regroup'),
    join(global, 'bin/regroup'),
    join(global, 'regroup'),
    join(into, 'regroup'),
  ];
}

/** What a worker prints whose caller ignores SIGHUP and has a variable that no shell would pass on. */
function startIgnoring(command: readonly string[], folder: string): string {
  // Not a shell: it would drop the variable.
  const shows = [
    '-hao',
    '-e',
    'SigIgn.*',
    '-e',
    'a[.]b=c',
    '/proc/self/status',
    '/proc/self/environ',
  ];
  const args = ['--standalone', '--no-python', 'grep', ...shows];
  const script = `trap '' HUP; exec "$@"`;
  return run('sh', ['-c', script, 'sh', 'env', 'a.b=c', ...command, ...args], folder);
}
const ignoring = 'SigIgn:\t0000000000000001\na.b=c\n';

/** The first program of a page in that language. */
function exampleOf(page: string, language: string): string {
  const text = readFileSync(page, 'utf8');
  const block = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1];
  if (block === undefined) throw new Error(`${page} has no ${language} example`);
  return block;
}

t.test('the packed tarball', { timeout: 880_000 }, async t => {
  const dir = t.testdir();
  const tarballs = packTarballs(dir);
  const [tarball = ''] = tarballs;
  const installed = install(tarballs, join(dir, 'installed'), ['--ignore-scripts']);
  const bin = join(installed, 'node_modules/.bin');
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

  await t.test('holds the commands, the types, a binary, its sources, and no tests', async t => {
    const files = run('tar', ['tzf', tarball], installed).split('\n');

    for (const path of [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/store.js',
      'dist/store.d.ts',
      'dist/bin/regroup',
      'dist/bin/regroup-launch',
      'dist/bin/regroup-store',
      'dist/bin/regroup.cjs',
      'dist/bin/regroup-store.cjs',
      'dist/bin/regroup.bundle.cjs',
      'dist/bin/regroup.later.cjs',
      'native/sources.gypi',
      'python/regroup/__main__.py',
      'python/regroup/store.py',
      'python/regroup.dist-info/entry_points.txt',
      'schema/events.schema.json',
      'native/front/front.cc',
      'native/front/install.cjs',
      'native/front/compile.cjs',
      'binding.gyp',
      'LICENSE',
    ]) {
      t.ok(files.includes(`package/${path}`), path);
    }
    t.ok(
      files.some(path => /^package\/prebuilds\/linux-\w+\/.*\.node$/.test(path)),
      'a binary',
    );
    for (const name of ['guardian', 'shm.so', 'early.so', 'exit_guard.so']) {
      const beside = new RegExp(`^package/prebuilds/linux-\\w+/regroup_${name}$`);
      t.ok(
        files.some(path => beside.test(path)),
        `regroup_${name} beside it`,
      );
    }
    t.same(
      files.filter(path => /package\/(test|bench|build|lib|scripts)\/|\.compiled$/.test(path)),
      [],
    );
  });

  await t.test('runs its command without anything having been built', async t => {
    const printed = run(join(bin, 'regroup'), ['--version'], installed);

    t.match(printed, version);
  });

  await t.test('its Python package finds the command beside itself', async t => {
    const python = `PYTHONPATH=${join(installed, 'node_modules/regroup/python')}`;
    const path = `PATH=${dirname(process.execPath)}:/usr/bin:/bin`;
    const args = [python, path, 'python3', '-B', '-m', 'regroup.run', '--version'];

    t.match(run('env', args, installed), version);
  });

  await t.test(
    'F-H1 its command starts alike by whatever link, without install scripts',
    async t => {
      const links = join(dir, 'links without scripts');
      mkdirSync(links);
      const commands = linksTo(installed, links);

      for (const command of commands) {
        t.match(readFileSync(command, 'latin1'), /^#!\/bin\/sh\n/);
        t.equal(startIgnoring([command], dir), ignoring, command);
      }
      t.match(run('npx', ['--offline', 'regroup', '--version'], installed), version);
      // As pnpm's links do.
      t.equal(startIgnoring(['sh', commands[0] ?? ''], dir), ignoring, 'by sh');
    },
  );

  await t.test('F-H1 npm puts the front program in their place, where it may', async t => {
    const whole = install(tarballs, join(dir, 'installed by scripts'), []);
    const links = join(dir, 'links');
    mkdirSync(links);

    for (const command of linksTo(whole, links)) {
      t.match(readFileSync(command, 'latin1'), /^\x7fELF/);
      t.equal(startIgnoring([command], dir), ignoring, command);
    }
    t.match(run('npx', ['--offline', 'regroup', '--version'], whole), version);
    for (const name of ['regroup-launch', 'regroup-store']) {
      t.match(readFileSync(join(whole, 'node_modules/.bin', name), 'latin1'), /^\x7fELF/);
    }
    const names = readdirSync(join(whole, 'node_modules/regroup/dist/bin'));
    t.same(
      names.filter(name => !name.includes('.')),
      ['regroup', 'regroup-launch', 'regroup-store'],
    );
    t.match(
      names.filter(name => name.endsWith('.compiled')),
      [/^regroup-launch\./, /^regroup\./],
      'compiled for this Node',
    );
  });

  await t.test('other package managers, whose links are scripts, keep the script', async t => {
    const command = join(installed, 'node_modules/regroup/dist/bin/regroup');
    const script = join(installed, 'node_modules/regroup/native/front/install.cjs');
    run(process.execPath, [script], installed, {
      npm_config_user_agent: 'pnpm/10.0.0 npm/? node/v20',
    });

    t.match(readFileSync(command, 'latin1'), /^#!\/bin\/sh\n/);
  });

  await t.test('launches two workers', async t => {
    const hello = resolve('examples/hello.py');
    const printed = run(
      join(bin, 'regroup'),
      ['--standalone', '--nproc-per-node=2', hello],
      installed,
    );

    t.match(printed, /rank 0 of 2/);
    t.match(printed, /rank 1 of 2/);
  });

  await t.test(
    "F-U6 docs/shared-memory.md's way to a store of one's own works as typed",
    async t => {
      const page = 'docs/shared-memory.md';
      const typed = exampleOf(page, 'sh').split('\n');
      const [start = '', name = ''] = typed;
      t.match(start, /^npx regroup-store --shared-memory .* # ready /);
      t.match(name, /^export REGROUP_STORE=@regroup-store-/);
      const program = exampleOf(page, 'python').replace('"loaded", 8', '"loaded", 1');
      const script = [
        `exec 3< <(exec ${join(bin, 'regroup-store')} --shared-memory </dev/null)`,
        'read -r _ _ REGROUP_STORE <&3; export REGROUP_STORE',
        ...typed.slice(2),
        `python3 -B - <<'END'`,
        `${program}print(store.get("epoch"))`,
        'END',
        'code=$?',
        'kill $!; wait $!; exit $code',
      ];

      t.equal(run('bash', ['-c', script.join('\n')], installed), "b'3'\n");
    },
  );

  await t.test('is imported and required alike', async t => {
    const imported = 'import("regroup").then(m => console.log(typeof m.launch))';

    t.equal(run(process.execPath, ['-e', imported], installed).trim(), 'function');
    const store = 'import("regroup/store").then(m => console.log(typeof m.connectStore))';
    t.equal(run(process.execPath, ['-e', store], installed).trim(), 'function');
    const required = ['--no-warnings', '-p', 'typeof require("regroup").launch'];
    t.equal(run(process.execPath, required, installed).trim(), 'function');
  });

  await t.test("type-checks the README's example", async t => {
    writeFileSync(join(installed, 'example.mts'), exampleOf('README.md', 'ts'));
    const compilerOptions = {
      noEmit: true,
      strict: true,
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      types: ['node'],
      typeRoots: [resolve('node_modules/@types')],
    };
    writeFileSync(
      join(installed, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['example.mts'] }),
    );
    const tsc = resolve('node_modules/typescript/bin/tsc');

    t.doesNotThrow(() => run(process.execPath, [tsc, '-p', '.'], installed));
  });
});
