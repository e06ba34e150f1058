import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { cleanEnv } from '../../harness.js';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

/** Tells whether V8 was given what it had compiled before, and took it; and what the command printed. */
const watch = `
  const vm = require('node:vm');
  vm.Script = class extends vm.Script {
    constructor(source, options) {
      super(source, options);
      console.log(options.cachedData === undefined ? 'none' : this.cachedDataRejected ? 'refused' : 'taken');
    }
  };
  require(process.argv[1]);
`;

/** The commands as npm has them before its install scripts run. */
function commandsOf(t: Test): string {
  const folder = join(t.testdir(), 'dist/bin');
  mkdirSync(folder, { recursive: true });
  cpSync('package.json', join(folder, '../../package.json'));
  symlinkSync(resolve('build'), join(folder, '../../build'));
  for (const name of readdirSync('dist/bin')) {
    if (name.endsWith('.cjs')) cpSync(join('dist/bin', name), join(folder, name));
  }
  return folder;
}

function compile(folder: string, flags: readonly string[] = []): string[] {
  const script = resolve('native/front/compile.cjs');
  const { status } = spawnSync(process.execPath, [...flags, script, folder], {
    env: cleanEnv({ NODE_OPTIONS: '--max-old-space-size=512' }),
  });
  if (status !== 0) throw new Error(`compile.cjs ended with ${status}`);
  return compiledIn(folder);
}

function compiledIn(folder: string): string[] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.compiled'))
    .map(name => join(folder, name));
}

function start(folder: string, flags: readonly string[] = [], name = 'regroup'): string {
  const command = join(folder, `${name}.cjs`);
  const args = [...flags, '-e', watch, command, '--version'];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    env: cleanEnv({}),
    encoding: 'utf8',
  });
  return status === 0 ? stdout : `code ${status}: ${stdout}${stderr}`;
}

const printed = `regroup ${version}\n`;

t.test('a command starts as it was compiled for this Node', async t => {
  const folder = commandsOf(t);
  t.equal(start(folder), `none\n${printed}`);

  const made = compile(folder);

  const { size } = statSync(process.execPath);
  const suffix = `-${process.version}-${process.arch}-${size}.compiled`;
  t.equal(made.length, 2);
  for (const path of made) t.ok(path.endsWith(suffix), path);
  t.equal(start(folder), `taken\n${printed}`);
  t.equal(start(folder, [], 'regroup-launch'), `taken\n${printed}`);
  t.equal(start(folder, ['--no-opt']), `refused\n${printed}`, 'with other flags of V8');
  t.same(compile(folder), made, 'made anew');
  t.equal(start(folder), `taken\n${printed}`);
});

t.test('what is damaged, or of another bundle, is left alone', async t => {
  const folder = commandsOf(t);
  const [path = ''] = compile(folder).filter(each => each.includes('regroup.'));
  const good = readFileSync(path);
  const damages = [0, 16, 4_000, good.length >> 1, good.length - 1];

  for (const at of damages) {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] ?? 0) ^ 16;
    writeFileSync(path, bytes);
    t.equal(start(folder), `none\n${printed}`, `byte ${at}`);
  }
  for (const length of [0, 3, good.length >> 1, good.length - 4]) {
    writeFileSync(path, good.subarray(0, length));
    t.equal(start(folder), `none\n${printed}`, `${length} bytes`);
  }
  writeFileSync(path, good);
  utimesSync(path, 0, 0);
  t.equal(start(folder), `none\n${printed}`, 'older than the bundle');
  rmSync(path);
  mkdirSync(path);
  t.equal(start(folder), `none\n${printed}`, 'a folder');
});

t.test("where a command can't be run nothing is left", async t => {
  const folder = commandsOf(t);
  writeFileSync(join(folder, 'regroup.bundle.cjs'), '(function () { process.exitCode = 3; })');
  writeFileSync(join(folder, 'regroup-launch.bundle.cjs'), 'no program');

  const before = readdirSync(folder);
  compile(folder);
  t.same(readdirSync(folder), before);
});

t.test('what a running job may need late it has read in time', { timeout: 240_000 }, async t => {
  const folder = commandsOf(t);
  const later = join(folder, 'regroup.later.cjs');
  const text = readFileSync(later);
  const gate = join(folder, 'gate');
  rmSync(later);
  for (const path of [later, gate]) t.equal(spawnSync('mkfifo', [path]).status, 0);
  const args = ['--no-python', '--log-dir', join(folder, 'logs'), 'cat', gate];
  const job = spawn(process.execPath, [join(folder, 'regroup.cjs'), ...args], {
    env: cleanEnv({}),
    stdio: 'ignore',
  });
  const ended = once(job, 'exit');
  t.teardown(() => job.kill('SIGKILL'));

  // Opened once it's read, while the only worker still waits for its own.
  const read = await open(later, 'w');
  await read.writeFile(text);
  await read.close();
  const awaited = await open(gate, 'w');
  await awaited.close();

  t.same(await ended, [0, null]);
});
