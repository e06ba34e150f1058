// What tests run: the addon, the compiled tests, the native tests in their several builds.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildTs, commandNames, copyPython } from './build-ts.mjs';
import { capture, run, StepFailed, say } from './steps.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The addon that users build, if a source of it is newer. */
export function buildAddon() {
  const addon = join(root, 'build/Release/regroup.node');
  if (isNewer(addon, [join(root, 'binding.gyp'), ...filesBelow(join(root, 'native'))])) return;

  run(
    'node',
    [
      'node_modules/node-gyp/bin/node-gyp.js',
      'configure',
      'build',
      '--jobs=max',
      '--loglevel=warn',
    ],
    {
      cwd: root,
    },
  );
}

/**
 * The commands as `npm install` leaves them, in build/bin of a checkout whose dist/ must suit any machine: the front
 * program by their names, and links to what it runs.
 *
 * @returns the folder; undefined where there's no front program
 */
export function placeCommands(checkout = root) {
  const front = join(checkout, 'build/Release/regroup_front');
  if (!existsSync(front)) return undefined;

  const bin = join(checkout, 'build/bin');
  rmSync(bin, { recursive: true, force: true });
  mkdirSync(bin);
  for (const name of commandNames) {
    copyFileSync(front, join(bin, name));
    chmodSync(join(bin, name), 0o755);
    symlinkSync(`../../dist/bin/${name}.cjs`, join(bin, `${name}.cjs`));
  }
  run('node', ['native/front/compile.cjs', join(checkout, 'dist/bin')], { cwd: root });
  return bin;
}

/** dist/, if a source of it is newer than what this has built. */
export async function buildDist() {
  const built = join(root, 'build/dist-built');
  const front = ['front.sh', 'start.cjs'].map(name => `native/front/${name}`);
  const scripts = ['build-ts.mjs', 'bundle.mjs'].map(name => `scripts/${name}`);
  const others = ['package.json', 'tsconfig.json', ...scripts, ...front];
  const sources = [...others, 'lib'].map(name => join(root, name));
  const isThere = existsSync(join(root, 'dist/bin/regroup.cjs'));
  if (isThere && isNewer(built, [...sources, ...allBelow(join(root, 'lib'))])) return;

  const start = new Date();
  // Half of it would pass for all.
  rmSync(built, { force: true });
  await buildTs();
  mkdirSync(dirname(built), { recursive: true });
  mark(built, start);
}

/**
 * lib/ and test/ → build/js, if a source is newer. Compiled lib/ finds there what it finds in the package: its
 * package.json, its addon, its Python.
 */
export function buildTests() {
  const js = join(root, 'build/js');
  const built = join(js, '.built');
  const others = ['package.json', 'tsconfig.json', 'tsconfig.test.json'];
  const sources = [...others, 'lib', 'test'].map(name => join(root, name));
  const below = ['lib', 'test'].flatMap(name => allBelow(join(root, name)));
  if (isNewer(built, [...sources, ...below])) return;

  const start = new Date();
  rmSync(js, { recursive: true, force: true });
  say('compiling the tests');
  run('node', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.test.json'], { cwd: root });
  copyPython(join(root, 'lib/preload'), join(js, 'lib/preload'));
  copyFileSync(join(root, 'package.json'), join(js, 'package.json'));
  mkdirSync(join(js, 'build'));
  symlinkSync('../../Release', join(js, 'build/Release'));
  mark(built, start);
}

/**
 * The native tests and fuzz targets, into build/FOLDER.
 *
 * @param sanitize as -fsanitize takes it
 * @param target one of them. @default all
 */
export function buildNative(folder, { sanitize = '', target = 'all' } = {}) {
  const out = join(root, 'build', folder);
  const what = target === 'all' ? 'the native tests' : target;
  say(`building ${what}${sanitize && ` with -fsanitize=${sanitize}`}`);
  quietly('cmake', ['-S', 'native', '-B', out, `-DREGROUP_SANITIZE=${sanitize}`]);
  quietly('cmake', ['--build', out, '-j2', '--target', target]);
}

const asan = 'address,undefined';

/** All that runs under sanitizers: build/asan, build/tsan and the addon, whose environment it gives. */
export function buildSanitized() {
  buildNative('asan', { sanitize: asan });
  buildNative('tsan', { sanitize: 'thread' });
  return buildSmokeAddon();
}

/** The addon with ASan and UBSan in it. Gives the environment that makes Node load it. */
function buildSmokeAddon() {
  const out = join(root, 'build/asan-addon');
  say('building the addon with ASan and UBSan');
  quietly('node', [
    'node_modules/cmake-js/bin/cmake-js',
    'build',
    '--directory=native',
    `--out=${out}`,
    `--CDREGROUP_SANITIZE=${asan}`,
    '--parallel=2',
  ]);
  const built = filesBelow(out).find(path => path.endsWith('/regroup.node'));
  if (!built) throw new StepFailed(`cmake-js left no regroup.node in ${out}`);

  // node-gyp-build looks for build/Release below REGROUP_PREBUILD.
  const release = join(out, 'package/build/Release');
  mkdirSync(release, { recursive: true });
  copyFileSync(built, join(release, 'regroup.node'));
  const runtimes = ['libasan.so', 'libubsan.so'].map(name =>
    capture('g++', [`-print-file-name=${name}`]).stdout.trim(),
  );
  return {
    REGROUP_PREBUILD: join(out, 'package'),
    REGROUP_SMOKE_PRELOAD: runtimes.join(' '),
  };
}

/** A compiler's output is of interest when it failed. */
function quietly(command, args) {
  const { ok, stdout, stderr } = capture(command === 'node' ? process.execPath : command, args, {
    cwd: root,
  });
  if (ok) return;

  console.error(stdout + stderr);
  throw new StepFailed(`${command} ${args.join(' ')} failed; see above`);
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath ?? entry.path, entry.name));
}

/** Folders as well, whose time tells that something in them is gone. */
function allBelow(folder) {
  return readdirSync(folder, { recursive: true }).map(path => join(folder, path));
}

/** Whether it's there, and newer than each of its sources. */
function isNewer(built, sources) {
  return existsSync(built) && sources.every(source => mtime(source) <= mtime(built));
}

/** Says that all was built of the sources as they were then: whatever is saved later is newer. */
function mark(built, start) {
  writeFileSync(built, '');
  utimesSync(built, start, start);
}

function mtime(path) {
  return statSync(path).mtimeMs;
}
