import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import t from 'tap';
import { cleanEnv } from './harness.js';

// It compiles the addon, which takes a busy machine minutes.
t.setTimeout(400_000);

/** What `npm run prebuild` and `npm pack` need of a checkout. */
const sources = [
  'package.json',
  'binding.gyp',
  'native',
  'python',
  'dist',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
];

/** As where scripts don't run and nothing can be built: the prebuilt binary or none. */
const env = cleanEnv({ PREBUILDS_ONLY: '1' });

function run(command: string, args: readonly string[], cwd: string): string {
  const { stdout, stderr, status, error } = spawnSync(command, args, {
    cwd,
    env,
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
 * A copy is built, since node-gyp removes the build folder that this test itself runs from.
 * Dependencies come out of node_modules, so that nothing is downloaded.
 */
function installTarball(dir: string): { installed: string; tarball: string } {
  const copy = join(dir, 'checkout');
  const installed = join(dir, 'installed');
  mkdirSync(copy);
  mkdirSync(installed);
  for (const source of sources) {
    if (existsSync(source)) cpSync(source, join(copy, source), { recursive: true });
  }
  symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));

  run('npm', ['run', 'prebuild'], copy);
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const needed = Object.keys(dependencies).map(name => resolve('node_modules', name));
  const tarballs = pack([copy, ...needed], dir);
  writeFileSync(join(installed, 'package.json'), '{ "private": true }');
  run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', ...tarballs], installed);
  const tarball = tarballs[0] ?? '';
  return { installed, tarball };
}

/** The program of a section of the README. */
function readmeExample(language: string): string {
  const readme = readFileSync('README.md', 'utf8');
  const block = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1];
  if (block === undefined) throw new Error(`README.md has no ${language} example`);
  return block;
}

t.test('the packed tarball', { timeout: 300_000 }, async t => {
  const { installed, tarball } = installTarball(t.testdir());
  const bin = join(installed, 'node_modules/.bin');
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

  await t.test('holds the commands, the types, a binary, its sources, and no tests', async t => {
    const files = run('tar', ['tzf', tarball], installed).split('\n');

    for (const path of [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/store.js',
      'dist/store.d.ts',
      'dist/bin/regroup.cjs',
      'dist/bin/regroup-store.cjs',
      'native/sources.gypi',
      'python/regroup/__main__.py',
      'python/regroup/store.py',
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
      files.filter(path => /package\/(test|bench|build|lib|scripts)\//.test(path)),
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

  await t.test('is imported and required alike', async t => {
    const imported = 'import("regroup").then(m => console.log(typeof m.launch))';

    t.equal(run(process.execPath, ['-e', imported], installed).trim(), 'function');
    const store = 'import("regroup/store").then(m => console.log(typeof m.connectStore))';
    t.equal(run(process.execPath, ['-e', store], installed).trim(), 'function');
    const required = ['--no-warnings', '-p', 'typeof require("regroup").launch'];
    t.equal(run(process.execPath, required, installed).trim(), 'function');
  });

  await t.test("type-checks the README's example", async t => {
    writeFileSync(join(installed, 'example.mts'), readmeExample('ts'));
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
