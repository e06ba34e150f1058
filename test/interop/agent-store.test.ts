import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, runCli, startCli } from '../harness.js';
import { forkingPython } from './forks.js';
import { releases, root, torchOrSkip } from './torch.js';

// Scripts with a store of their own, `init_method='tcp://…'`: rank 0 is to serve it.

t.setTimeout(570_000);

const script = join(root, 'test/interop/private_store.py');

const options = (python: string, env: Readonly<Record<string, string>> = {}): CliOptions => ({
  env: { PYTHON_EXEC: python, OMP_NUM_THREADS: '1', ...env },
});

async function passes(
  t: Test,
  python: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const ended = await runCli(t, ['--nproc-per-node=2', ...args, script], options(python, env));

  t.equal(ended.code, 0) || t.comment(`${ended.stdout}\n${ended.stderr}`);
  // In the second round as well as in the first.
  const rounds = args.includes('--max-restarts=1') ? 2 : 1;
  t.equal(ended.stdout.match(/^rank \d: sum 2 of attempt \d$/gm)?.length, 2 * rounds, ended.stdout);
}

for (const release of releases) {
  t.test(`PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const python = await forkingPython(t, torch);

    t.test("MN-69 F-F15 --agent-store=off: workers meet at rank 0's store in each round", t =>
      passes(t, python, ['--agent-store=off', '--max-restarts=1'], { INIT: 'tcp' }),
    );

    t.test('F-F15 the same at the master port', t =>
      passes(t, python, ['--agent-store=off'], { INIT: 'env' }),
    );

    t.test('R-038, R-039 MN-69 F-F15 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 does the same', t =>
      passes(t, python, ['--standalone'], { INIT: 'tcp', TORCH_DISABLE_SHARE_RDZV_TCP_STORE: '1' }),
    );

    t.test(
      'MN-69 F-F15 else the worker that waits is named, with its address and what helps',
      async t => {
        const ours = options(torch.python, { INIT: 'tcp' });
        const run = startCli(t, ['--nproc-per-node=2', script], ours);
        const [, port] = /at (\d+)/.exec(await run.line(/^rank 0 meets at \d+$/)) ?? [];

        const line = await run.line(/keeps connecting/);

        t.match(
          line,
          new RegExp(
            `worker [01] \\(local [01], pid \\d+\\) keeps connecting to 127\\.0\\.0\\.1:${port}, where nobody listens; .*--agent-store=off`,
          ),
        );
        run.kill('SIGTERM');
        await run.ended;
      },
    );
  });
}
