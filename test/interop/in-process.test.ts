import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, startProgram } from '../harness.js';
import { releases, root, torchOrSkip } from './torch.js';

// Tools that call PyTorch's launcher in their own process, under `python -m regroup`.

t.setTimeout(850_000);

const { prepareAccelerate } = (await import(join(root, 'scripts/python.mjs'))) as {
  prepareAccelerate(): { path?: string; problem?: string };
};

const env = {
  PYTHONPATH: join(root, 'python'),
  PYTHONDONTWRITEBYTECODE: '1',
  PYTHONWARNINGS: 'ignore',
};

/** A worker says what it was started with, in one write; only regroup gives it a round. */
const shows = [
  'import os, sys',
  'of = lambda *names: " ".join(os.environ.get(name, "none") for name in names)',
  'words = [of("RANK", "WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS", "REGROUP_ROUND")] + sys.argv[1:]',
  'os.write(1, ("worker " + " ".join(words) + "\\n").encode())',
].join('\n');

function start(t: Test, python: string, args: readonly string[], options: CliOptions = {}) {
  const program = [python, '-m', 'regroup', ...args];
  return startProgram(t, program, { ...options, env: { ...env, ...options.env } }).ended;
}

function sorted(stdout: string): string[] {
  return stdout.trim().split('\n').sort();
}

for (const release of releases) {
  t.test(`G1 PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const folder = t.testdir({ 'shows.py': shows, 'fails.py': 'raise SystemExit(7)' });
    const script = join(folder, 'shows.py');
    const python = torch.python;

    await t.test('a tool launches by regroup, and goes on', async t => {
      const args = ['--nproc_per_node=2', '--rdzv_conf=timeout=60', script, '--lr', '1'];

      const { code, stdout } = await start(t, python, [
        resolve('test/interop/calls_launcher.py'),
        ...args,
      ]);

      t.equal(code, 0);
      t.same(sorted(stdout), [
        'the tool goes on',
        'worker 0 2 1 0 --lr 1',
        'worker 1 2 1 0 --lr 1',
      ]);
    });

    await t.test("PyTorch's own modules do", async t => {
      const run = ['-m', 'torch.distributed.run', '--nproc_per_node=2', script];
      const launch = ['-m', 'torch.distributed.launch', '--nproc_per_node=1', script, 'x'];
      const localRank = release === '1.13' ? '--local_rank=0' : '--local-rank=0';

      const ran = await start(t, python, run);
      const launched = await start(t, python, launch);

      t.same(sorted(ran.stdout), ['worker 0 2 0 0', 'worker 1 2 0 0'], ran.stderr);
      t.equal(launched.stdout, `worker 0 1 0 0 ${localRank} x\n`, launched.stderr);
    });

    await t.test('a failed run ends the tool, with no second report', async t => {
      const { code, stdout, stderr } = await start(t, python, [
        resolve('test/interop/calls_launcher.py'),
        join(folder, 'fails.py'),
      ]);

      t.equal(code, 1);
      t.equal(stdout, '');
      t.match(stderr, /exitcode {2}: 7/);
      t.notMatch(stderr, /calls_launcher\.py/);
    });
  });
}

t.test('G1 accelerate launch', async t => {
  const { path, problem } = prepareAccelerate();
  if (path === undefined) return t.plan(0, `no accelerate: ${problem}`);
  const script = resolve('test/interop/uses_accelerate.py');
  const flags = ['--multi_gpu', '--num_processes=2', '--num_machines=1', '--mixed_precision=no'];
  const folder = t.testdir({});

  const { code, stdout, stderr } = await start(
    t,
    path,
    ['accelerate', 'launch', ...flags, '--dynamo_backend=no', '--main_process_port=0', script, 'x'],
    { cwd: folder, env: { HF_HOME: folder, ACCELERATE_USE_CPU: 'true' } },
  );

  t.equal(code, 0, stderr);
  t.same(sorted(stdout), ['rank 0 of 2 in round 0: sum 3 x', 'rank 1 of 2 in round 0: sum 3 x']);
});
