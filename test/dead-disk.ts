import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { type CliRun, startProgram } from './harness.js';

/** Why a disk that doesn't answer can't be had here; false: it can. */
export const noDeadDisk = canMount() ? false : 'needs root and /dev/fuse';

export interface DeadDisk {
  /** Its only file. */
  readonly file: string;
  /** Resolves once somebody has asked for what isn't answered. */
  asked(): Promise<void>;
  /** Whoever waits for it is released. */
  end(): Promise<void>;
}

/** A mounted disk that leaves `what` unanswered, until the test ends: see fixtures/dead_disk.py. */
export async function deadDisk(
  t: Test,
  what: 'flush' | 'read' | 'lookup',
): Promise<DeadDisk & { readonly path: string }> {
  const path = join(t.testdir({}), 'disk');
  const run = startProgram(t, ['python3', resolve('test/fixtures/dead_disk.py'), path, what], {
    typing: true,
  });
  const end = async (): Promise<void> => {
    run.type();
    await run.ended;
  };
  t.teardown(end);
  await run.line(/^mounted/);
  return {
    path,
    file: join(path, 'file'),
    asked: async () => void (await run.line(/^asked/)),
    end,
  };
}

/**
 * A process of nobody's that hangs in an execve: whoever reads its environment waits for it. It goes with the disk.
 */
export async function sickProcess(t: Test, disk: DeadDisk): Promise<CliRun> {
  const script = "import os, sys; f = open(sys.argv[1]); os.execv('/bin/sleep', ['sleep', '0'])";
  const run = startProgram(t, ['python3', '-c', script, disk.file]);
  await disk.asked();
  return run;
}

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return process.getuid?.() === 0;
  } catch {
    return false;
  }
}
