import type { Entrypoint } from '../options/launch-options.js';
import { nearest } from '../util/nearest.js';

/** What's told of a script that Python couldn't run, and what to do about it. */
export interface ScriptProblem {
  /** The problem as Python names it: `FileNotFoundError: [Errno 2] No such file or directory`. */
  readonly what: string;
  readonly path: string;
  /** Where it was looked for, or what may have been meant; with its punctuation, or empty. */
  readonly hint: string;
}

/** What looking for a script needs of the file system. */
export interface ScriptSource {
  /** `other`: a pipe or the like, or nobody can tell, as on a network file system that fails. */
  kind(path: string): 'file' | 'folder' | 'missing' | 'unreadable' | 'other';
  /** Names in a folder; none if it can't be read. */
  list(folder: string): readonly string[];
  /** Whether it begins as a program of the machine does. */
  isBinary(path: string): boolean;
  /** The program of this name on PATH. */
  find(name: string): string | undefined;
}

/**
 * Why Python can't run the script, where that's known before it's started. Modules are found by Python alone.
 *
 * @param cwd of the workers; absent: there's none
 * @returns undefined as well where the script might be there for a worker: its name depends on the rank, or we don't have it byte by byte
 */
export function scriptProblem(
  entrypoint: Entrypoint,
  args: readonly string[],
  cwd: string | undefined,
  source: ScriptSource,
): ScriptProblem | undefined {
  const script =
    'script' in entrypoint
      ? entrypoint.script
      : 'runPath' in entrypoint
        ? entrypoint.runPath
        : undefined;
  // `-` is Python's stdin, and `-c` one of its options.
  if (script === undefined || /^-|[$\uFFFD]/.test(script)) return undefined;

  const path = script.startsWith('/') || cwd === undefined ? script : `${cwd}/${script}`;
  switch (source.kind(path)) {
    case 'missing':
      return {
        what: 'FileNotFoundError: [Errno 2] No such file or directory',
        path: script,
        hint: `${where(script, cwd)}${hintFor(script, args, path, source)}`,
      };
    case 'unreadable':
      return { what: 'PermissionError: [Errno 13] Permission denied', path: script, hint: '' };
    case 'folder':
      if (['py', 'pyc'].some(end => source.kind(`${path}/__main__.${end}`) !== 'missing'))
        return undefined;
      return {
        what: 'IsADirectoryError: [Errno 21] Is a directory, without a __main__.py',
        path: script,
        hint: interpreterHint(script, args) ?? '',
      };
    case 'file': {
      // A program isn't Python, but a zip file may follow it, and Python runs that.
      const meant = interpreterHint(script, args);
      if (meant === undefined || !source.isBinary(path)) return undefined;
      return { what: 'not a script but a program', path: script, hint: meant };
    }
    default:
      return undefined;
  }
}

function where(script: string, cwd: string | undefined): string {
  if (script.startsWith('/')) return '';
  return cwd === undefined ? ' (the working directory is gone)' : ` (in ${cwd})`;
}

function hintFor(
  script: string,
  args: readonly string[],
  path: string,
  source: ScriptSource,
): string {
  const interpreter = interpreterHint(script, args);
  if (interpreter !== undefined) return interpreter;
  if (!script.includes('/')) {
    if (nearest(script, ['topology']) !== undefined)
      return '; did you mean the command `regroup topology`?';
    if (source.find(script) !== undefined)
      return `; did you mean \`regroup --no-python ${script}\`, which runs the program?`;
  }
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const names = folder === '' ? [] : source.list(folder);
  const name = nearest(script.slice(script.lastIndexOf('/') + 1), names);
  return name === undefined ? '' : `; did you mean ${name}?`;
}

/** Hint for who writes the launcher's own work before the script: `regroup python train.py`. */
function interpreterHint(script: string, args: readonly string[]): string | undefined {
  const name = script.slice(script.lastIndexOf('/') + 1);
  if (/^(torchrun|regroup)$/.test(name))
    return `; did you mean \`regroup …\` without ${name}, with the same options?`;
  if (/^(ba|da|z|k)?sh$/.test(name))
    return `; did you mean \`regroup --no-python ${name} …\`, which runs the program?`;
  if (!/^(python|pypy)[\d.]*$/.test(name)) return undefined;

  // Behind `python` stand options, then either `-m` and a module, or the script.
  const at = args.findIndex(arg => arg === '-m' || !arg.startsWith('-'));
  const isModule = args[at] === '-m';
  const given = args[isModule ? at + 1 : at];
  const meant = given === undefined || given.length > 60 ? '…' : given;
  return `; did you mean \`regroup ${isModule ? '-m ' : ''}${meant}\`? (--no-python runs programs)`;
}
