import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, gone, startProgram } from '../harness.js';

const env = { PYTHONPATH: resolve('python'), PYTHONDONTWRITEBYTECODE: '1' };
const fixture = (name: string) => resolve('test/fixtures', name);

/** What a tool does that has called torch.distributed.run's run(), without the seconds of importing torch. */
const tool = [
  'import sys',
  'from regroup import _command',
  '_command.run(sys.argv[1:])',
  'print("the tool goes on")',
].join('\n');

function start(t: Test, args: readonly string[], options: CliOptions = {}) {
  const program = ['python3', '-c', tool, ...args];
  return startProgram(t, program, { ...options, env: { ...env, ...options.env } });
}

t.test('G1 a tool goes on when its workers have ended well', async t => {
  const { code, stdout, stderr } = await start(t, ['--standalone', fixture('ends.py'), '0']).ended;

  t.match({ code, stderr }, { code: 0, stderr: '' });
  t.equal(stdout, 'rank 0 of attempt 0\nthe tool goes on\n');
});

t.test(
  'G1 a tool ends with the code of a failed run, and without a traceback of its own',
  async t => {
    const args = ['--standalone', '--exit-code=worker', fixture('ends.py'), '7'];

    const { code, stdout, stderr } = await start(t, args).ended;

    t.equal(code, 7);
    t.notMatch(stdout, /goes on/);
    t.match(stderr, /exited with code 7/);
    t.notMatch(stderr, /_command\.py/);
  },
);

t.test('G1 a signal to the tool reaches its workers', async t => {
  const run = start(t, ['--standalone', fixture('waits.py')]);
  await run.line(/worker 0 is ready/);

  run.kill('SIGTERM');
  const { code, stdout } = await run.ended;

  t.equal(code, 1, "the command's own");
  t.match(stdout, /worker 0 got SIGTERM\n$/);
});

t.test('G1 a tool that is killed leaves no job behind', async t => {
  const run = start(t, ['--standalone', fixture('waits.py')]);
  await run.line(/worker 0 is ready/);
  const children = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8');

  run.kill('SIGKILL');

  t.ok(await gone(children.trim().split(' ').map(Number)));
  t.match(await run.ended, { signal: 'SIGKILL', stdout: /worker 0 got SIGTERM/ });
});

t.test('G1 workers run the Python of the tool, unless another one is named', async t => {
  const script = join(
    t.testdir({ 'shows.py': 'import os; print(os.environ.get("PYTHON_EXEC"))' }),
    'shows.py',
  );
  const named = { PYTHON_EXEC: '/usr/bin/env', REGROUP_COMMAND: 'python3' };

  const own = await start(t, ['--standalone', script]).ended;
  const other = await start(t, [script], { env: named }).ended;

  t.match(own.stdout, /^\/.*python3?[\d.]*\n/);
  t.match(other.stdout, /^\/usr\/bin\/env\n/);
});

t.test('G1 the command is the one that REGROUP_COMMAND names, split as a shell does', async t => {
  const command = `python3 -c 'import sys; print(sys.argv[1:])' "of ours"`;

  const { stdout } = await start(t, ['a b', '$c'], { env: { REGROUP_COMMAND: command } }).ended;

  t.equal(stdout, "['of ours', 'a b', '$c']\nthe tool goes on\n");
});

t.test('G1 without a package around it the command is the one on the PATH, or none', async t => {
  const folder = t.testdir({ regroup: '#!/bin/sh\necho "on the PATH: $@"\n', python: {} });
  execFileSync('cp', ['-r', resolve('python/regroup'), join(folder, 'python')]);
  execFileSync('chmod', ['+x', join(folder, 'regroup')]);
  const PYTHONPATH = join(folder, 'python');

  const found = await start(t, ['x'], {
    env: { PYTHONPATH, PATH: `${folder}:${process.env.PATH}` },
  }).ended;
  const none = await start(t, ['x'], { env: { PYTHONPATH, PATH: '/usr/bin:/bin' } }).ended;

  t.equal(found.stdout, 'on the PATH: x\nthe tool goes on\n');
  t.match(none, { code: 1, stdout: '', stderr: /^regroup: no regroup command is to be found: / });
});

t.test('G1 `python -m regroup.run` becomes the command', async t => {
  const program = ['python3', '-m', 'regroup.run', '--standalone', fixture('waits.py')];
  const run = startProgram(t, program, { env });
  await run.line(/worker 0 is ready/);

  run.kill('SIGTERM');

  t.match(await run.ended, { code: 1, stdout: /worker 0 got SIGTERM/, stderr: /got signal: 15/ });
});

t.test('G1 `python -m regroup` says what it takes', async t => {
  const call = (...args: string[]) =>
    startProgram(t, ['python3', '-m', 'regroup', ...args], { env }).ended;

  t.match(await call('--help'), { code: 0, stdout: /accelerate launch/ });
  t.match(await call(), { code: 2 });
  t.match(await call('--nproc-per-node=2', 'x.py'), {
    code: 1,
    stderr: /`python -m regroup\.run --nproc-per-node=2 …`/,
  });
  t.match(await call('no-such-tool'), { code: 1, stderr: /no-such-tool is no command of/ });
});

t.test('G1 a script and a module run as Python itself would run them', async t => {
  const shows = 'import sys; print(__name__, sys.argv, sys.path[0] != "")';
  const folder = t.testdir({ 'tool.py': shows });
  const call = (...args: string[]) =>
    startProgram(t, ['python3', '-m', 'regroup', ...args], { env, cwd: folder }).ended;

  t.match(await call('./tool.py', 'x'), { stdout: "__main__ ['./tool.py', 'x'] True\n" });
  t.match(await call('-m', 'tool', 'x'), { stdout: `__main__ ['${folder}/tool.py', 'x'] True\n` });
});

t.test("torchrun finds the handler by the package's entry point, and imports nothing for it", t => {
  const script = [
    'import sys',
    'from importlib import metadata',
    // Python 3.8 and 3.9 have no entry_points(group=…).
    'every = metadata.distribution("regroup").entry_points',
    'found = [e for e in every if (e.group, e.name) == ("torchrun.handlers", "regroup")]',
    'create = found[0].load()()',
    'print(metadata.version("regroup"), len(found), callable(create), "torch" in sys.modules)',
  ].join('\n');

  const said = execFileSync('python3', ['-c', script], { env, encoding: 'utf8' });

  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  t.equal(said, `${version} 1 True False\n`);
  t.end();
});
