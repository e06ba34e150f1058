import { dirname, join } from 'node:path';
import type { Test } from 'tap';

/** A real PyTorch to compare with and to run workers on. */
export interface Torch {
  readonly release: 'newest' | '1.13';
  readonly python: string;
}

/** Tests run in the project's root; fixtures are used where they lie, not compiled. */
export const root = process.cwd();

// One list of interpreters for `npm test`, examples and us. The script has no types.
const { findPythons } = (await import(join(root, 'scripts/python.mjs'))) as {
  findPythons(): Record<'newest' | 'old', { path: string; torch: string } | undefined>;
};
const pythons = findPythons();

export const releases = ['newest', '1.13'] as const;

/**
 * The PyTorch of that release. Where it's missing the test is skipped, aloud; but in CI the newest is
 * required, so there its absence is a failure.
 */
export function torchOrSkip(t: Test, release: Torch['release']): Torch | undefined {
  const found = release === 'newest' ? pythons.newest : pythons.old;
  if (found) {
    // As PATH would have it, so that both launchers come to the same path.
    return { release, python: join(dirname(found.path), 'python3') };
  }

  if (release === 'newest') {
    const how = 'no newest PyTorch: `node scripts/python.mjs` makes .venv, or set REGROUP_PYTHON';
    if (process.env['CI']) t.fail(how);
    else t.plan(0, how);
  } else {
    t.plan(0, 'no PyTorch 1.13: apt-get install python3-torch, or set REGROUP_PYTHON_OLD');
  }
  return undefined;
}
