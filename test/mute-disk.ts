import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { startProgram } from './harness.js';

/** Why a test can't have one: root mounts it, through /dev/fuse. False where it can. */
export const noMuteDisk: string | false = whyNot();

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root to mount a disk';
  try {
    accessSync('/dev/fuse', constants.W_OK);
    return false;
  } catch {
    return 'needs /dev/fuse';
  }
}

export interface MuteDisk {
  /** A new folder, removed with the test. */
  readonly folder: string;
  /**
   * From now to the test's end a disk that answers nobody is mounted there.
   *
   * @returns resolves when somebody waits for it
   */
  mount(on: string): Promise<() => Promise<string>>;
}

export function muteDisk(t: Test): MuteDisk {
  const folder = mkdtempSync(join(tmpdir(), 'regroup-disk-'));
  // The last of the test's tear-downs: nobody may look there while a disk is mounted.
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const python = process.env.REGROUP_PYTHON ?? '/usr/bin/python3';
  return {
    folder,
    async mount(on) {
      const program = [python, resolve('test/fixtures/mute_disk.py'), on];
      const server = startProgram(t, program, { typing: true });
      t.teardown(async () => {
        server.type();
        await server.ended;
      });
      await server.line(/^mounted$/);
      return () => server.line(/^asked$/);
    },
  };
}
