import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { launch } from '../../../lib/index.js';
import { releases, root, torchOrSkip } from '../torch.js';

const script = join(root, 'test/interop/warm/restarts.py');

for (const release of releases) {
  t.test(`a restart on PyTorch ${release} finds its imports done`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;
    const folder = t.testdir();
    const crashes = join(folder, 'crash');
    const run = launch({
      entrypoint: { script },
      args: [folder, crashes],
      python: torch.python,
      nprocPerNode: 2,
      maxRestarts: 3,
      standby: 'auto',
      standbyAfterMs: 0,
      standbyModules: ['torch', 'torch.distributed'],
    });

    const rounds: { pids: readonly number[]; ready: readonly number[] }[] = [];
    let ready: readonly number[] = [];
    for await (const event of run.events()) {
      if (event.event === 'round-started')
        rounds.push({ pids: event.workers.map(worker => worker.pid), ready });
      if (event.event === 'standby-trouble') t.fail(event.reason);
      if (event.event !== 'standbys-ready') continue;
      ready = event.pids;
      // Rank 0 waits for this file, and dies.
      writeFileSync(`${crashes}-${rounds.length - 1}`, '');
    }

    t.match(await run.result, { outcome: 'succeeded' });
    t.equal(rounds.length, 3, 'two restarts');
    for (const { pids, ready } of rounds.slice(1)) t.strictSame(pids, ready, 'by standbys');
    const seen = (round: number, rank: number): Record<string, unknown> =>
      JSON.parse(read(join(folder, `seen-${round}-${rank}`))) as Record<string, unknown>;
    for (const rank of [0, 1]) {
      const cold = seen(0, rank);
      t.notOk(cold.wasImported);
      for (const round of [1, 2]) {
        const warm = seen(round, rank);
        t.equal(warm.wasImported, false, 'the script sees no imports but its own');
        t.equal(warm.restartCount, String(round));
        t.strictSame({ ...warm, restartCount: '' }, { ...cold, restartCount: '' });
      }
    }
  });
}

t.test('an interpreter that does not park is told once, and nothing runs twice', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const folder = t.testdir();
  const wrapper = join(folder, 'python');
  writeFileSync(wrapper, `#!/bin/sh\nunset PYTHONPATH\nexec ${torch.python} "$@"\n`);
  chmodSync(wrapper, 0o755);
  const run = launch({
    entrypoint: { script: join(root, 'test/interop/warm/counts_starts.py') },
    args: [folder],
    python: wrapper,
    nprocPerNode: 2,
    maxRestarts: 1,
    standby: 'auto',
    standbyAfterMs: 0,
  });

  const troubles: string[] = [];
  for await (const event of run.events()) {
    if (event.event !== 'standby-trouble') continue;
    troubles.push(event.reason);
    writeFileSync(join(folder, 'end'), '');
  }

  t.match(await run.result, { outcome: 'succeeded' });
  t.equal(troubles.length, 1);
  t.match(troubles[0], /interpreter doesn't wait/);
  t.equal(read(join(folder, 'starts')).split('\n').filter(Boolean).length, 2, 'two starts');
});

function read(path: string): string {
  return readFileSync(path, 'utf8');
}
