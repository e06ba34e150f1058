import { lstat, mkdir, rmdir, stat } from 'node:fs/promises';
import { codeOf } from '../util/errno.js';

/** Where the sockets of a user's runs are. */

/** Longest path of a Unix socket, in bytes. @source Linux, include/uapi/linux/un.h: sun_path, with its NUL */
const maxPathBytes = 107;

const suffix = '.sock';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * `$XDG_RUNTIME_DIR/regroup`, where that's a folder of this user's, and `/tmp/regroup-UID`. A run takes the first; who looks for
 * runs may have another environment than theirs, and looks at all.
 */
export async function controlFolders({
  XDG_RUNTIME_DIR: runtime,
}: Env): Promise<readonly string[]> {
  const common = `/tmp/regroup-${process.geteuid?.() ?? 0}`;
  if (!runtime?.startsWith('/')) return [common];
  const found = await stat(runtime).catch(() => undefined); // then it's no place for a socket
  if (found?.isDirectory() !== true || found.uid !== process.geteuid?.()) return [common];
  return [`${runtime.replace(/\/+$/, '')}/regroup`, common];
}

/**
 * A socket's path. Its name has the pid, by which people and `agentOf` know whose it is, and more, since other pid namespaces may
 * share the folder.
 *
 * @throws with a text for people, where the path is too long for a socket
 */
export function socketPath(folder: string, pid: number, more: string): string {
  const path = `${folder}/${pid}-${more}${suffix}`;
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxPathBytes) return path;
  throw new Error(
    `${path} is ${bytes} bytes long, and a socket's path has ${maxPathBytes} at most; a shorter XDG_RUNTIME_DIR helps`,
  );
}

/** The agent's pid in a socket's name; undefined: it's no name of ours. */
export function agentOf(name: string): number | undefined {
  const pid = /^(\d{1,10})-\w+\.sock$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** @throws with a text for people, where it can't be made or isn't for us alone */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw new Error(`${folder} can't be made: ${codeOf(error)}`);
  }
  await checkFolder(folder);
}

/** @returns whether it's there. @throws with a text for people, where it isn't for us alone */
export async function checkFolder(folder: string): Promise<boolean> {
  try {
    // Whoever made it before us, where everybody may write, may have made a link.
    const found = await lstat(folder);
    if (found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0)
      return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw new Error(`${folder} can't be looked at: ${codeOf(error)}`);
  }
  throw new Error(`${folder} isn't a folder for this user alone (owner, mode 0700)`);
}

/** Removes it if nobody has a socket there. */
export async function leaveFolder(folder: string): Promise<void> {
  await rmdir(folder).catch(() => undefined); // others have theirs there
}
