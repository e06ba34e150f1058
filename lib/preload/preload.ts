import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchError } from '../errors.js';

/**
 * The path of the small Python program that runs a script as a function entrypoint.
 *
 * @throws ERR_INTERNAL if the package lacks it
 */
export function runPathShim(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  // From dist/preload, from dist/bin where all is one file, and from build/js/lib/preload in tests.
  for (const folder of ['.', '../preload', '../../../../lib/preload']) {
    const path = join(here, folder, 'run_path.py');
    if (existsSync(path)) return path;
  }
  throw launchError('ERR_INTERNAL', [`run_path.py isn't beside ${here}`]);
}
