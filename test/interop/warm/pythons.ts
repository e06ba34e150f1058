import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** An interpreter that standbys may be made of. */
export interface Python {
  readonly path: string;
  readonly version: string;
}

/** Every Python of the machine from 3.9 on: on PATH, and of pyenv. One of each minor release, the oldest first. */
export function pythons(): readonly Python[] {
  const folders = (process.env['PATH'] ?? '').split(':').filter(each => !each.includes('/shims'));
  const versions = join(process.env['PYENV_ROOT'] ?? join(homedir(), '.pyenv'), 'versions');
  if (existsSync(versions))
    folders.push(...readdirSync(versions).map(each => join(versions, each, 'bin')));
  folders.push('/usr/bin');

  const found = new Map<string, Python>();
  for (const folder of folders.filter(each => existsSync(each))) {
    for (const name of readdirSync(folder).filter(each => /^python3\.\d+$/.test(each))) {
      const path = join(folder, name);
      const program = 'import sys; print("%d.%d" % sys.version_info[:2])';
      const version = spawnSync(path, ['-c', program], { encoding: 'utf8' }).stdout?.trim();
      const minor = Number(version?.split('.')[1]);
      if (version && minor >= 9 && !found.has(version)) found.set(version, { path, version });
    }
  }
  const minorOf = (python: Python): number => Number(python.version.split('.')[1]);
  return [...found.values()].sort((a, b) => minorOf(a) - minorOf(b));
}
