import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, type Ended, runCli } from '../harness.js';
import { forkingPython } from './forks.js';
import { releases, root, type Torch, torchOrSkip } from './torch.js';

// Real PyTorch workers under regroup, meeting at its store.

// Workers import torch for seconds.
t.setTimeout(550_000);

const inTests = (name: string) => join(root, 'test/interop', name);

/** Runs a job on that PyTorch; its output is shown if it doesn't end with the code expected. */
async function run(
  t: Test,
  torch: Torch,
  args: readonly string[],
  options: CliOptions & { readonly code?: number } = {},
): Promise<Ended> {
  const { code = 0, ...rest } = options;
  const ended = await runCli(t, args, {
    ...rest,
    // Two cores may have to carry all the tests' workers.
    env: { PYTHON_EXEC: torch.python, OMP_NUM_THREADS: '1', ...rest.env },
  });
  t.equal(ended.code, code) || t.comment(`${ended.stdout}\n${ended.stderr}`);
  return ended;
}

const countOf = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

for (const release of releases) {
  t.test(`workers of PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const env = { PYTHON_EXEC: await forkingPython(t, torch) };

    for (const nproc of [2, 4]) {
      t.test(
        `${nproc} workers use collectives, groups, objects and DDP through our store`,
        async t => {
          const args = ['--standalone', `--nproc-per-node=${nproc}`, inTests('store_workload.py')];
          // Two by the interpreter itself, which all the others have imported before.
          const { stdout } = await run(t, torch, args, nproc === 2 ? {} : { env });

          t.equal(countOf(stdout, /rank \d: done/g), nproc);
        },
      );
    }

    t.test('L-113 L-114 env:// with a port that is given', async t => {
      const args = ['--master-port=29671', '--nproc-per-node=2', inTests('gloo_round.py'), '0'];
      const { stdout } = await run(t, torch, args, { env });

      t.equal(countOf(stdout, /^rank \d of attempt 0 reduced, launched True, port 29671$/gm), 2);
    });

    t.test('L-114 tcp:// with a port that is given', async t => {
      const script = [inTests('gloo_round.py'), '0', 'tcp://localhost:29672'];
      const args = ['--master-port=29672', '--nproc-per-node=2', ...script];
      const { stdout } = await run(t, torch, args, { env });

      t.equal(countOf(stdout, /^rank \d of attempt 0 reduced/gm), 2);
    });

    const restarts = Number(
      process.env['REGROUP_TEST_RESTARTS'] ?? (release === 'newest' ? 10 : 3),
    );
    const title = `T-091 T-092 T-094 ${restarts} restarts of a gloo job meet no stale key`;
    for (const port of [[], ['--master-port=29673']]) {
      t.test(`${title}${port.length > 0 ? ', on one port' : ''}`, async t => {
        const attempts = port.length > 0 ? Math.min(restarts, 3) : restarts;
        const args = [...port, '--nproc-per-node=2', `--max-restarts=${attempts}`];
        const script = [inTests('gloo_round.py'), `${attempts}`];
        const { stdout } = await run(t, torch, [...args, ...script], { env });

        t.equal(countOf(stdout, /^rank 0 of attempt \d+ reduced/gm), attempts + 1);
        t.equal(countOf(stdout, /^rank 1 of attempt \d+ reduced/gm), attempts + 1);
        const ports = new Set(stdout.match(/port \d+/g));
        if (port.length > 0) t.strictSame([...ports], ['port 29673']);
        else t.ok(ports.size > 1, 'a port of its own for each attempt');
      });
    }

    t.test('L-081 an exception under @record is shown with its traceback', async t => {
      const ended = await run(t, torch, ['--standalone', inTests('records_error.py'), 'boom'], {
        code: 1,
        mayLeave: /^torchelastic_/,
      });

      t.match(ended.stderr, /traceback : Traceback \(most recent call last\):\n/);
      t.match(ended.stderr, /\n {2}ValueError: boom\n {2}\n=+\nregroup: the job failed: worker 0 /);
    });

    t.test('L-087 the root cause reaches the error file of a launcher above ours', async t => {
      const file = join(t.testdir({}), 'parent.json');
      await run(t, torch, ['--standalone', inTests('records_error.py'), 'boom'], {
        code: 1,
        env: { TORCHELASTIC_ERROR_FILE: file },
        mayLeave: /^torchelastic_/,
      });

      t.ok(existsSync(file));
      t.match(JSON.parse(readFileSync(file, 'utf8')), {
        message: { message: 'ValueError: boom', errorCode: 1, extraInfo: { timestamp: /^\d+$/ } },
      });
    });
  });
}
