import type { Env } from './env.js';

/** The interpreter of Python entrypoints. */
export interface Python {
  readonly path: string;
  /**
   * Whether it's what we would have taken for Python by ourselves, or was told to be. If not, it's
   * PYTHON_EXEC's choice, which needn't be Python at all, and reports name it instead of the script.
   */
  readonly isInterpreter: boolean;
  /** Why this one, for people: `PYTHON_EXEC`, `./.venv`, `python3 on PATH`. */
  readonly because: string;
  /** What PATH has, where that's another one and nobody asked for this. */
  readonly insteadOf?: string;
}

/** What choosing an interpreter needs of the file system. */
export interface ProgramSource {
  isExecutable(path: string): boolean;
  /** Whether it's a program of the machine, not a script: what a script does only it knows. */
  isBinary(path: string): boolean;
  /** A folder's path without links; the path itself where there's no such folder. */
  realFolder(path: string): string;
}

/**
 * The interpreter that a user would get: PYTHON_EXEC, REGROUP_PYTHON, the active virtualenv's or conda
 * environment's, ./.venv's, then python3 and python on PATH. Empty variables count as absent.
 *
 * Conda's base comes last: a shell's start-up file activates it, so that it isn't anybody's choice.
 *
 * @param cwd absent: there's none
 */
export function findPython(
  env: Env,
  cwd: string | undefined,
  source: ProgramSource,
): Python | undefined {
  const guess = guessPython(env, cwd, source);
  const chosen = env.PYTHON_EXEC;
  if (chosen === undefined || chosen === '') return guess;
  return { path: chosen, isInterpreter: chosen === guess?.path, because: 'PYTHON_EXEC' };
}

/** Warning for people where the interpreter is a guess: which one it is, and which it isn't. */
export function guessedPython({ path, because, insteadOf }: Python): string | undefined {
  if (insteadOf === undefined) return undefined;
  return `workers run ${path} (${because}), not ${insteadOf} on PATH; PYTHON_EXEC chooses another`;
}

interface Candidate {
  readonly path: string;
  readonly because: string;
}

function guessPython(env: Env, cwd: string | undefined, source: ProgramSource): Python | undefined {
  if (env.REGROUP_PYTHON)
    return { path: env.REGROUP_PYTHON, isInterpreter: true, because: 'REGROUP_PYTHON' };

  const isThere = ({ path }: Candidate): boolean => source.isExecutable(path);
  const isBase = isCondaBase(env, source);
  const guess = [
    ...pythonOf(env.VIRTUAL_ENV, 'VIRTUAL_ENV'),
    ...pythonOf(isBase ? undefined : env.CONDA_PREFIX, 'CONDA_PREFIX'),
    ...pythonOf(cwd && join(cwd, '.venv'), './.venv'),
  ].find(isThere);
  const onPath = (name: string): Candidate | undefined =>
    foldersOfPath(env, cwd)
      .map(folder => ({ path: join(folder, name), because: `${name} on PATH` }))
      .find(isThere);

  const first = onPath('python3') ?? onPath('python');
  if (guess === undefined) {
    const last = first ?? pythonOf(env.CONDA_PREFIX, 'CONDA_PREFIX').find(isThere);
    return last && { ...last, isInterpreter: true };
  }
  const python = { ...guess, isInterpreter: true };
  // Either is what users type.
  const isOnPath = [first, onPath('python')].some(
    each => each !== undefined && leadTheSameWay(guess, each, source),
  );
  return first === undefined || isOnPath ? python : { ...python, insteadOf: first.path };
}

function leadTheSameWay(guess: Candidate, onPath: Candidate, source: ProgramSource): boolean {
  // Shims (pyenv's, asdf's) lead to the active environment, as far as anybody can see.
  if (guess.because !== './.venv' && !source.isBinary(onPath.path)) return true;
  return source.realFolder(dirname(onPath.path)) === source.realFolder(dirname(guess.path));
}

/** Whether the active environment is conda's base, by its name, or without one by its folder: only conda's own installation has `condabin`. */
function isCondaBase({ CONDA_DEFAULT_ENV, CONDA_PREFIX }: Env, source: ProgramSource): boolean {
  if (CONDA_DEFAULT_ENV) return CONDA_DEFAULT_ENV === 'base';
  return CONDA_PREFIX ? source.isExecutable(join(CONDA_PREFIX, 'condabin/conda')) : false;
}

function pythonOf(prefix: string | undefined, because: string): readonly Candidate[] {
  return prefix ? [{ path: join(prefix, 'bin/python'), because }] : [];
}

/** An empty entry means the working directory, as execvp has it. */
function foldersOfPath(env: Env, cwd: string | undefined): readonly string[] {
  const folders = (env.PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':');
  return folders.flatMap(folder => folder || (cwd ?? []));
}

/** Joins paths. Unlike node:path's, it keeps what's in front as it's written. */
function join(folder: string, name: string): string {
  return folder.endsWith('/') ? folder + name : `${folder}/${name}`;
}

function dirname(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}
