// Neighbours that a job can't choose, beside which tests of real processes run: a process that hangs
// in execve on a disk that never answers, so that whoever reads its environ, stat or wchan hangs as well,
// and another job of ours whose console nobody reads.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { say } from './steps.mjs';
import { root } from './test-build.mjs';

/** What's needed to make a file system of one's own. */
const canMount = process.getuid?.() === 0 && existsSync('/dev/fuse');

/** Why there are none; undefined if there are. */
export const noNeighbours = canMount
  ? undefined
  : 'no sick neighbours: a disk that never answers takes root and /dev/fuse';

/** Does `body` beside them, where they can be had. They're gone afterwards. */
export async function besideSickNeighbours(body) {
  if (!canMount) return await body();
  const folder = mkdtempSync(join(tmpdir(), 'regroup-neighbours-'));
  const disk = spawn('python3', ['test/fixtures/never_answers.py', join(folder, 'disk')], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = await Promise.race([
    once(createInterface({ input: disk.stdout }), 'line'),
    once(disk, 'exit').then(() => []),
  ]);
  if (line === undefined) {
    say("no sick neighbours: a disk that never answers can't be mounted here");
    rmSync(folder, { recursive: true, force: true });
    return await body();
  }
  const mute = muteJob(folder);
  say(`beside a process that hangs in execve (${line}) and a job whose console nobody reads`);
  try {
    return await body();
  } finally {
    mute.kill('SIGKILL');
    disk.stdin.end();
    await Promise.all([once(disk, 'exit'), mute.exitCode ?? mute.signalCode ?? once(mute, 'exit')]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Its pipes fill and stay full: nothing here ever reads them. */
function muteJob(folder) {
  const shouts = 'while echo a line that nobody will ever read; do :; done';
  const args = ['--standalone', '--nproc-per-node=2', '--no-python', 'sh', '-c', shouts];
  // It's gone with us, whatever ends us.
  const bound = ['--pdeathsig', 'KILL', process.execPath];
  return spawn('setpriv', [...bound, 'dist/bin/regroup.cjs', ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder, LOGLEVEL: 'DEBUG' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
