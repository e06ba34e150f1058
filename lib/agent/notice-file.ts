import { existsSync, type FSWatcher, readlinkSync, watch } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import { launchError, valueError } from '../errors.js';
import { exactCwd } from '../system/exact.js';
import { onDisk, textOf } from '../util/bytes.js';
import { codeOf } from '../util/errno.js';

/** Where a folder can't be watched any more (no watch is left), the file is looked for so often. */
const retryMs = 1000;
/** Looks in a row, at most: whoever changes the path faster is waited for until the next event. */
const maxLooks = 10;
/** @source Linux, include/linux/namei.h, MAXSYMLINKS */
const maxLinks = 40;

export interface FileWatch {
  /** Takes what has been there before. */
  look(): void;
  close(): void;
}

/** A name that's looked up in a folder on the way to a file. */
interface LookUp {
  readonly folder: string;
  readonly name: string;
}

/**
 * Tells when a file is there: by inotify on each folder in which a change may make the path lead there, namely the last
 * one that exists, and those of the links on the way. Kubernetes swaps a link next to the file's; others move a folder
 * away and make it anew.
 *
 * None of it keeps Node alive.
 *
 * @throws ERR_OPTION if its folder isn't there; ERR_MACHINE
 */
export function watchFile(path: string, onThere: () => void): FileWatch {
  const whole = wholePath(path);
  const watchers = new Map<string, FSWatcher>();
  let names = new Map<string, Set<string>>();
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  function look(): void {
    if (!isClosed && existsSync(onDisk(whole))) onThere();
  }

  /** @throws what inotify has against it */
  function arm(): void {
    for (let looks = 0; looks < maxLooks; looks++) {
      const wanted = namesByFolder(lookUpsOf(whole));
      const isArmed = [...wanted.keys()].every(folder => watchers.has(folder));
      names = wanted;
      if (isArmed) break;
      // Between a look and its watch the path may have changed; so another look follows.
      for (const folder of wanted.keys()) if (!watchers.has(folder)) watchFolder(folder);
    }
    for (const folder of watchers.keys()) if (!names.has(folder)) forget(folder);
  }

  function watchFolder(folder: string): void {
    const watcher = watch(onDisk(folder), { persistent: false, encoding: 'buffer' }, (_, bytes) => {
      const name = bytes === null ? null : textOf(bytes);
      // What happens to the folder itself bears its own name.
      const isSelf = name === basename(folder) || name === null;
      // It's watched by its inode, and another may have its name now.
      if (isSelf) forget(folder);
      if (isSelf || names.get(folder)?.has(name)) lookAgain();
    });
    watcher.on('error', () => {
      forget(folder);
      lookAgain();
    });
    watchers.set(folder, watcher);
  }

  function forget(folder: string): void {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  }

  function lookAgain(): void {
    if (isClosed) return;
    clearTimeout(retry);
    try {
      arm();
    } catch {
      // Told by nobody, for the job goes on; but a notice mustn't be missed.
      retry = setTimeout(lookAgain, retryMs).unref();
    }
    look();
  }

  try {
    arm();
    if (!existsSync(onDisk(resolve(whole, '..'))))
      throw Object.assign(new Error(), { code: 'ENOENT' });
  } catch (error) {
    close();
    throw cantWatch(path, error);
  }

  function close(): void {
    isClosed = true;
    clearTimeout(retry);
    for (const folder of watchers.keys()) forget(folder);
  }
  return { look, close };
}

/** @throws ERR_OPTION where there's no working directory to take it from */
function wholePath(path: string): string {
  try {
    return resolve(isAbsolute(path) ? '/' : exactCwd(), path);
  } catch (error) {
    throw cantWatch(path, error);
  }
}

/** @source inotify_init(2), inotify_add_watch(2) */
const limits: Readonly<Record<string, string | undefined>> = {
  EMFILE:
    'no inotify instance or descriptor is left; see /proc/sys/fs/inotify/max_user_instances and `ulimit -n`',
  ENFILE: 'the machine has no open files left; see /proc/sys/fs/file-nr',
  ENOSPC: 'no inotify watch is left; see /proc/sys/fs/inotify/max_user_watches',
  ENOMEM: 'there is too little memory',
};

function cantWatch(path: string, error: unknown): unknown {
  const accepted = 'a path in a folder that exists and can be watched';
  const limit = limits[codeOf(error) ?? ''];
  if (limit === undefined) return valueError('preemptFile', path, accepted, error);
  return launchError('ERR_MACHINE', [`can't watch ${path}`, limit], error);
}

function namesByFolder(lookUps: readonly LookUp[]): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>();
  for (const { folder, name } of lookUps) {
    const known = names.get(folder) ?? new Set();
    names.set(folder, known.add(name));
  }
  return names;
}

/** The links on the way to a path, and the last name that's looked up: the file's, or the first one that isn't there. */
function lookUpsOf(path: string): readonly LookUp[] {
  const lookUps: LookUp[] = [];
  const rest = path.split('/');
  let folder = '/';
  for (let links = 0; ; ) {
    const name = rest.shift();
    if (name === undefined || links > maxLinks) return lookUps;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      folder = resolve(folder, '..');
      continue;
    }
    const at = resolve(folder, name);
    let isThere = true;
    let target: string | undefined;
    try {
      target = textOf(readlinkSync(onDisk(at), 'buffer'));
    } catch (error) {
      isThere = codeOf(error) === 'EINVAL'; // no link, but something else
    }
    const isLast = rest.every(each => each === '' || each === '.');
    if (target !== undefined || isLast || !isThere) lookUps.push({ folder, name });
    if (!isThere || (isLast && target === undefined)) return lookUps;
    if (target === undefined) {
      folder = at;
      continue;
    }
    links++;
    rest.unshift(...target.split('/'));
    if (target.startsWith('/')) folder = '/';
  }
}
