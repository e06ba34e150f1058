import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { onDisk } from '../util/bytes.js';
import { codeOf } from '../util/errno.js';
import type { ProgramSource } from './python.js';
import type { ScriptSource } from './script.js';

/**
 * Interpreters and scripts as the file system has them.
 *
 * @param searchPath PATH of the workers
 */
export function programsOf(searchPath: string | undefined): ProgramSource & ScriptSource {
  return {
    isExecutable,
    isBinary,
    realFolder(path) {
      try {
        return realpathSync(path);
      } catch {
        return path; // it isn't there, so nothing else is meant by it
      }
    },
    kind,
    list(folder) {
      try {
        return readdirSync(onDisk(folder), 'utf8');
      } catch {
        return []; // only for a hint
      }
    },
    find: name =>
      (searchPath ?? '')
        .split(':')
        .map(folder => `${folder || '.'}/${name}`)
        .find(isExecutable),
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(onDisk(path), constants.X_OK);
    return statSync(onDisk(path)).isFile();
  } catch {
    // Not there, or not for us: either way it isn't what we'd run.
    return false;
  }
}

/** @source elf(5): what programs of this machine begin with */
function isBinary(path: string): boolean {
  // A file that can't be read is as good as a script: nobody knows what it does.
  return beginning(path)?.startsWith('\x7fELF') ?? false;
}

/** The first line of a file, in part if it's long, without its \n; undefined if the file can't be read. */
export function firstLine(path: string): string | undefined {
  return beginning(path)?.split('\n', 1)[0];
}

/** @source Linux, include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE: what the kernel looks at */
const beginningBytes = 256;

function beginning(path: string): string | undefined {
  const bytes = Buffer.alloc(beginningBytes);
  try {
    const fd = openSync(onDisk(path), 'r');
    try {
      return bytes.toString('latin1', 0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

function kind(path: string): ReturnType<ScriptSource['kind']> {
  try {
    const stat = statSync(onDisk(path));
    if (!stat.isFile() && !stat.isDirectory()) return 'other';
    accessSync(onDisk(path), constants.R_OK);
    return stat.isFile() ? 'file' : 'folder';
  } catch (error) {
    const code = codeOf(error) ?? '';
    if (code === 'EACCES') return 'unreadable';
    return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(code) ? 'missing' : 'other';
  }
}
