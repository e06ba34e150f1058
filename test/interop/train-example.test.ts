import { dirname, join } from 'node:path';
import t from 'tap';
import { runCli } from '../harness.js';
import { releases, torchOrSkip } from './torch.js';

for (const release of releases) {
  t.test(`train.py on PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const env = { PYTHON_EXEC: torch.python };
    const command = ['--standalone', '--nproc-per-node=2', '--max-restarts=1', 'examples/train.py'];
    const short = ['--steps=60', '--checkpoint-every=20'];

    await t.test('L-053 goes on from its checkpoint after a crash', async t => {
      const crash = ['--crash-at=30', '--crash-rank=1'];
      const { code, stdout, stderr } = await runCli(t, [...command, ...short, ...crash], { env });

      t.equal(code, 0, stderr);
      t.match(stdout, /rank 1 crashes at step 30/);
      t.match(stdout, /resumed from step 20/);
      t.match(stdout, /step 60 loss/);
      t.match(stderr, /regroup: worker 1 \(local 1\) .*; restarting, 0 of 1 restart left/);
      t.notMatch(stderr, /ChildFailedError/);
    });

    await t.test('keeps a checkpoint that it was given a file for', async t => {
      const checkpoint = `--checkpoint=${join(t.testdir(), 'kept', 'checkpoint.pt')}`;
      const first = await runCli(t, [...command, ...short, checkpoint], { env });
      const again = await runCli(t, [...command, '--steps=70', checkpoint], { env });

      t.equal(first.code, 0, first.stderr);
      t.notMatch(first.stdout, /resumed/);
      t.equal(again.code, 0, again.stderr);
      t.match(again.stdout, /resumed from step 60/);
    });

    await t.test('has its restarts measured beside those of torchrun', async t => {
      const torchrun = join(dirname(torch.python), 'torchrun');
      // That of 1.13 doesn't run on newer Pythons.
      if (release !== 'newest') return;
      const asked = [
        '--kills=1',
        '--step=step \\d+ loss',
        '--after=0',
        '--timeout=2m',
        `--against=${torchrun}`,
      ];
      const job = ['--standalone', '--nproc-per-node=2', 'examples/train.py', '--steps=10000000'];
      const ended = await runCli(t, ['bench', 'restart', ...asked, '--', ...job], { env });

      t.equal(ended.code, 0, ended.stderr);
      t.match(ended.stdout, /^sigkill +regroup +1 +0 +\d/m);
      // A restart of torchrun's may meet what the round before has left in its store.
      t.match(ended.stdout, /^sigkill +torchrun +1 +[01] +[\d–]/m);
      t.match(ended.stdout, /^sigkill, regroup, medians of the phases: noticed .* · script \d+$/m);
    });
  });
}
