import { isAbsolute, join, resolve } from 'node:path';
import { launchError } from '../errors.js';
import type { Disk } from '../system/disk.js';
import { makeFolders, removeAll, statOf } from '../system/files.js';
import { bytesOf, textOf } from '../util/bytes.js';
import { adviceFor, codeOf, describeErrno } from '../util/errno.js';
import { randomName } from '../util/random.js';
import type { StreamFiles } from './streams.js';

/** Where the logs of a run go, before anything is made. */
export type LogBase =
  /** `/dev/null`: no files at all, not even error files. */
  | { readonly kind: 'none' }
  /** Made if it's missing, and kept. */
  | { readonly kind: 'given'; readonly path: string }
  /** A new folder in the first of these that takes one. */
  | { readonly kind: 'temp'; readonly parents: readonly string[] };

/** The folder of one run; `attempt_N` below it. */
export interface RunFolder {
  readonly path: string;
  /** The folder that we made in the temp dir for this run alone. */
  readonly tempBase?: string;
}

/** Names of one worker's files in one attempt. */
export interface WorkerFiles extends StreamFiles {
  readonly folder: string;
  readonly errorFile: string;
}

/**
 * @param logDir relative to `cwd`, which may be absent. The result is absolute, since a worker may go elsewhere before it
 *   writes its error file.
 * @param env ours, which may name the temp dir as Python's tempfile has it
 * @throws ERR_LOG_DIR
 */
export function logBase(
  logDir: string | undefined,
  cwd: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): LogBase {
  if (logDir === '/dev/null') return { kind: 'none' };
  if (logDir !== undefined && logDir !== '') {
    if (cwd === undefined && !isAbsolute(logDir)) {
      const why = 'is relative, and the working directory is gone; give an absolute path';
      throw launchError('ERR_LOG_DIR', [logDir, why]);
    }
    return { kind: 'given', path: resolve(cwd ?? '/', logDir) };
  }

  const all = [env.TMPDIR, env.TEMP, env.TMP, '/tmp', '/var/tmp', '/usr/tmp', cwd];
  const parents = all.flatMap(path => {
    if (path === undefined || path === '') return [];
    if (isAbsolute(path)) return [resolve(path)];
    return cwd === undefined ? [] : [resolve(cwd, path)];
  });
  return { kind: 'temp', parents };
}

/**
 * What the folder's name begins with: the run id, in which a slash would name another folder and a
 * leading dot hide this one.
 */
export function safeRunId(runId: string): string {
  const safe = runId.replace(/[/\0]/g, '_').replace(/^\.+/, dots => '_'.repeat(dots.length));
  // Names end at 255 bytes, and nine are for the random part.
  const bytes = bytesOf(safe);
  if (bytes.length <= 200) return safe;
  // Without what the cut has left of a character.
  return textOf(bytes.subarray(0, 200)).replace(/[\uDC80-\uDCFF]+$/u, '');
}

/** `<run folder>/attempt_<restart count>` */
export function attemptFolder(runFolder: string, restartCount: number): string {
  return `${runFolder}/attempt_${restartCount}`;
}

/** @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/api.py, DefaultLogsSpecs.reify */
export function workerFiles(attempt: string, localRank: number): WorkerFiles {
  const folder = `${attempt}/${localRank}`;
  return {
    folder,
    stdout: `${folder}/stdout.log`,
    stderr: `${folder}/stderr.log`,
    errorFile: `${folder}/error.json`,
    filteredStdout: `${attempt}/filtered_stdout.log`,
    filteredStderr: `${attempt}/filtered_stderr.log`,
  };
}

/** What `createRunFolder` will make, with `XXXXXXXX` for what chance decides. */
export function plannedRunFolder(base: LogBase, runId: string): string | undefined {
  if (base.kind === 'none') return undefined;

  const path =
    base.kind === 'given' ? base.path : join(base.parents[0] as string, 'torchelastic_XXXXXXXX'); // logBase gives several
  return join(path, `${safeRunId(runId)}_XXXXXXXX`);
}

/** Limit of making a run's or a round's folders: a file server may take its time. */
const makeMs = 10_000;
/** Limit of removing folders: the run's result waits for it. */
const removeMs = 2000;

/**
 * Makes the run's folder, and the base above it. Both random levels are 0700, as mkdtemp makes them.
 *
 * @throws ERR_LOG_DIR
 */
export async function createRunFolder(
  base: LogBase,
  runId: string,
  disk: Disk,
): Promise<RunFolder | undefined> {
  const name = `${safeRunId(runId)}_`;
  switch (base.kind) {
    case 'none':
      return undefined;
    case 'given':
      return make(base.path, disk, async () => {
        await makeFolderAndParents(base.path);
        return { path: await createRandom(join(base.path, name)) };
      });
    case 'temp': {
      let failure: unknown;
      for (const parent of base.parents) {
        try {
          const run = `${name}${randomName(8)}`;
          const tempBase = await make(parent, disk, () =>
            createRandom(join(parent, 'torchelastic_'), run),
          );
          return { path: join(tempBase, run), tempBase };
        } catch (error) {
          failure ??= error;
        }
      }
      throw failure;
    }
  }
}

/** The files of one attempt's workers, by local rank. */
export function attemptFiles(
  runFolder: string,
  restartCount: number,
  localWorldSize: number,
): WorkerFiles[] {
  const attempt = attemptFolder(runFolder, restartCount);
  return Array.from({ length: localWorldSize }, (_, localRank) => workerFiles(attempt, localRank));
}

/**
 * Makes the folders of one attempt. What an earlier round left there stays: a membership change starts a round
 * within the same attempt.
 *
 * @throws ERR_LOG_DIR
 */
export async function createAttempt(
  runFolder: string,
  restartCount: number,
  files: readonly WorkerFiles[],
  disk: Disk,
): Promise<void> {
  const attempt = attemptFolder(runFolder, restartCount);
  const folders = [attempt, ...files.map(({ folder }) => folder)];
  await make(attempt, disk, () => makeFolders(folders.map(path => ({ path, mayBeThere: true }))));
}

/** Removes the folder in the temp dir that nobody asked for and nothing worth keeping is in. */
export async function removeTempBase({ tempBase }: RunFolder, disk: Disk): Promise<void> {
  if (tempBase === undefined) return;
  await remove(disk, async () => {
    try {
      await removeAll(tempBase);
    } catch {
      // It takes a descriptor, and the core, which closes at this moment, may have had the last.
      await new Promise(setImmediate);
      await removeAll(tempBase);
    }
  });
}

/** Removes the folders of an attempt whose workers never ran. */
export async function removeAttempt(runFolder: string, attempt: number, disk: Disk): Promise<void> {
  const path = attemptFolder(runFolder, attempt);
  await remove(disk, () => removeAll(path));
}

async function remove(disk: Disk, calls: () => Promise<void>): Promise<void> {
  // A worker's leftover may be writing there still, or the disk is dead; the run's result doesn't hang on it.
  await disk.run(removeMs, calls).catch(() => {});
}

/** @param path what the error is about if the disk doesn't answer */
async function make<T>(path: string, disk: Disk, calls: () => Promise<T>): Promise<T> {
  try {
    return await disk.run(makeMs, calls);
  } catch (error) {
    throw await logDirError(path, error);
  }
}

/** Makes a folder and its parents. */
async function makeFolderAndParents(path: string): Promise<void> {
  const folder = { path, mayBeThere: true };
  try {
    await makeFolders([folder]);
  } catch (error) {
    const parent = resolve(path, '..');
    if (codeOf(error) !== 'ENOENT' || (await isThere(parent))) throw error;
    await makeFolderAndParents(parent);
    await makeFolders([folder]);
  }
}

async function isThere(path: string): Promise<boolean> {
  return statOf(path).then(
    () => true,
    () => false, // or it can't be looked at, and then the next call says why
  );
}

/**
 * mkdtemp with Python's eight characters of [a-z0-9_]; Node's takes six of a wider set.
 *
 * @param below a folder that's made in it at once
 */
async function createRandom(prefix: string, below?: string): Promise<string> {
  for (let attempts = 100; ; attempts--) {
    const path = prefix + randomName(8);
    const paths = below === undefined ? [path] : [path, join(path, below)];
    try {
      await makeFolders(paths.map(each => ({ path: each, mode: 0o700 })));
      return path;
    } catch (error) {
      const { path: failed } = error as { path?: string }; // fs errors have it
      if (below !== undefined && failed === join(path, below)) {
        await removeAll(path);
        throw error;
      }
      if (codeOf(error) !== 'EEXIST' || attempts === 0) throw error;
    }
  }
}

/** The error of the call that failed names its own path. */
async function logDirError(path: string, error: unknown): Promise<Error> {
  const { errno, path: own = path } = error as { errno?: number; path?: string }; // fs errors have both
  switch (codeOf(error)) {
    case 'ETIMEDOUT': {
      const why = `doesn't answer (tried for ${makeMs / 1000} s); name a folder on a disk that does`;
      return launchError('ERR_LOG_DIR', [path, why], error);
    }
    case 'EEXIST':
    case 'ENOTDIR':
      return launchError('ERR_LOG_DIR', [await fileAbove(own), 'is a file; name a folder'], error);
    default: {
      const { code, text } = describeErrno(Math.abs(errno ?? 0));
      const advice = adviceFor(code) || '; name a folder that you may write to';
      return launchError('ERR_LOG_DIR', [own, `can't be made: ${text}${advice}`], error);
    }
  }
}

/** The path, or the nearest one above it, that's there and isn't a folder. */
async function fileAbove(path: string): Promise<string> {
  for (let at = path; at !== '/'; at = resolve(at, '..')) {
    // Not there, or below a file: look further up.
    const found = await statOf(at).catch(() => undefined);
    if (found !== undefined && found.kind !== 'folder') return at;
  }
  return path;
}
