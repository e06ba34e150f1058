import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allowedOf, filesOf, machines } from '../placement/machine.js';
import { root, torchOrSkip } from './torch.js';

/** REGROUP_RECORD=1 writes it anew. */
const recorded = join(root, 'test/fixtures/torchrun-bindings.json');

t.test('L-102: the recorded CPU sets are those of torchrun', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (torch === undefined) return;
  const asked = machines.map(([, machine]) => ({
    files: filesOf(machine),
    allowed: allowedOf(machine),
    gpus: machine.gpuNodes.map((_, gpu) => 0x10 + gpu),
  }));

  const { stdout, stderr } = spawnSync(
    torch.python,
    [join(root, 'test/interop/torchrun_binding.py')],
    { input: JSON.stringify(asked), encoding: 'utf8', maxBuffer: 2 ** 24 },
  );

  t.not(stdout, '', stderr);
  const outcomes: unknown[] = JSON.parse(stdout);
  const byName = Object.fromEntries(machines.map(([name], index) => [name, outcomes[index]]));
  if (process.env['REGROUP_RECORD']) {
    writeFileSync(recorded, `${JSON.stringify(byName, undefined, 2)}\n`);
  }
  t.same(byName, JSON.parse(readFileSync(recorded, 'utf8')));
});
