import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';

/** What `run` needs of this machine. */
const needed = ['qemu-system-x86_64', 'busybox', 'cpio', 'gcc'];

export function missing(): string | false {
  const path = (process.env.PATH ?? '').split(':');
  const lacking = needed.filter(name => !path.some(folder => existsSync(join(folder, name))));
  if (lacking.length === 0) return false;
  return `needs ${lacking.join(', ')}: apt-get install qemu-system-x86 busybox-static cpio gcc`;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Boots a machine and runs a shell script there, which finds `regroup`, `where` (where.c) and the
 * given files in its folder.
 *
 * @param machine options of `run`
 * @param files their texts by their names there
 * @param copied files and folders of this machine, by their names there
 */
export async function inMachine(
  t: Test,
  machine: readonly string[],
  script: string,
  {
    files = {},
    copied = {},
  }: {
    readonly files?: Readonly<Record<string, string>>;
    readonly copied?: Readonly<Record<string, string>>;
  } = {},
): Promise<Ended> {
  const folder = t.testdir();
  const own = join(folder, 'regroup');
  cpSync('dist', join(own, 'dist'), { recursive: true });
  cpSync('package.json', join(own, 'package.json'));
  cpSync('node_modules/node-gyp-build', join(own, 'node_modules/node-gyp-build'), {
    recursive: true,
    dereference: true,
  });
  for (const name of [
    'regroup.node',
    'regroup_front',
    'regroup_guardian',
    'regroup_early.so',
    'regroup_exit_guard.so',
  ]) {
    cpSync(join('build/Release', name), join(own, 'build/Release', name));
  }
  execFileSync('gcc', ['-O2', '-static', '-o', join(folder, 'where'), 'test/vm/where.c']);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  for (const [name, path] of Object.entries(copied)) {
    cpSync(path, join(folder, name), { recursive: true, dereference: true });
  }
  // A script of its own, so that programs find it by name.
  const command = '#!/bin/sh\nexec /case/regroup/dist/bin/regroup "$@"\n';
  writeFileSync(join(folder, 'regroup.sh'), command, { mode: 0o755 });
  const start = 'ln -s /case/regroup.sh /bin/regroup; ln -s /case/where /bin/where';
  writeFileSync(join(folder, 'script.sh'), `${start}\n${script}`);

  const child = spawn('test/vm/run', [...machine, folder, 'sh', 'script.sh'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/** What `=== NAME` heads in a script's output, up to the next heading. */
export function partOf({ stdout }: Ended, name: string): string {
  return stdout.split(`=== ${name}\n`)[1]?.split('=== ')[0] ?? `no case ${name} in ${stdout}`;
}

/** Pages that one line of `where` tells, by node. */
export function pagesOf(line: string | undefined): Readonly<Record<string, number>> {
  const text = /pages=(\S+)/.exec(line ?? '')?.[1] ?? '';
  const pairs = text.split(',').map(pair => pair.split(':'));
  return Object.fromEntries(pairs.map(([node = '', count]) => [node, Number(count)]));
}

/** Lines of a case, in the order of ranks. */
export function linesOf({ stdout }: Ended, name: string): readonly string[] {
  return stdout
    .split('\n')
    .filter(line => line.startsWith(`${name} rank=`))
    .sort();
}
