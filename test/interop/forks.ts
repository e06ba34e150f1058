import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { startProgram } from '../harness.js';
import { root, type Torch } from './torch.js';

let started = 0;

/**
 * An interpreter for workers of that PyTorch which imports it once, for all of them: see `forks_torch.py`. For tests
 * of what workers do with PyTorch; where the subject is how they start or end, or which process they are, it's the
 * interpreter itself.
 */
export async function forkingPython(t: Test, torch: Torch): Promise<string> {
  const name = `regroup-forks-${process.pid}-${started++}`;
  const program = [join(root, 'test/interop/forks_torch.py'), name];
  const server = startProgram(t, [torch.python, ...program], { env: { OMP_NUM_THREADS: '1' } });
  t.teardown(async () => {
    server.kill('SIGTERM');
    await server.ended;
  });
  await server.line(/^ready$/);
  const script = `#!/bin/sh\nexec '${torch.python}' -IS '${program.join("' '")}' "$@"\n`;
  const python = join(t.testdir({ python3: script }), 'python3');
  chmodSync(python, 0o755);
  return python;
}
