import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Version of the package that this command belongs to. */
export function packageVersion(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const text = readFileSync(join(here, '../../../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version; // our own package.json
}
