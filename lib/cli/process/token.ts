import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { acceptedToken, maxTokenCharacters, tokenProblem } from '../../options/token.js';
import { codeOf } from '../../util/errno.js';

/** A token, or none, or what's wrong with where it was to come from. */
export type GivenToken =
  | { readonly token: string | undefined }
  | { readonly from: string; readonly why: string; readonly accepted: string };

/**
 * The job's token, of a file or else of the environment: everybody on a machine may see command lines. White space around
 * it doesn't count.
 *
 * @param option what has named the file, for people
 */
export function tokenGiven(
  file: string | undefined,
  option: string,
  { REGROUP_TOKEN: variable = '' }: Readonly<Record<string, string | undefined>>,
): GivenToken {
  if (file === undefined) {
    const token = variable.trim();
    const why = variable === '' ? undefined : tokenProblem(token);
    if (why !== undefined) return { from: 'REGROUP_TOKEN', why, accepted: acceptedToken };
    return { token: variable === '' ? undefined : token };
  }
  let read: ReturnType<typeof startOf>;
  try {
    read = startOf(file);
  } catch (error) {
    const why = `${file} can't be read (${codeOf(error) ?? String(error)})`;
    return { from: option, why, accepted: "a file with the job's token" };
  }
  if (isOpenToOthers(read.stats)) {
    const mode = (read.stats.mode & 0o777).toString(8).padStart(4, '0');
    const why = `others than its owner may read or write ${file}, whose mode is ${mode}`;
    return { from: option, why, accepted: 'a file of its owner alone: chmod 600' };
  }
  const token = read.text.trim();
  const why = tokenProblem(token);
  if (why === undefined) return { token };
  return { from: option, why: `${file}: ${why}`, accepted: acceptedToken };
}

/** As ssh judges keys: who owns a file of another user, or a device, has the say about it. */
function isOpenToOthers(stats: Stats): boolean {
  const keepsBytes = stats.isFile() || stats.isFIFO();
  return keepsBytes && stats.uid === process.geteuid?.() && (stats.mode & 0o077) !== 0;
}

/** As much of a file as may be a token, and a little more; and whose it is, which can't change meanwhile. */
function startOf(path: string): { readonly text: string; readonly stats: Stats } {
  const bytes = Buffer.alloc(maxTokenCharacters + 64);
  const fd = openSync(path, 'r');
  try {
    const stats = fstatSync(fd);
    let size = 0;
    for (let got = -1; got !== 0 && size < bytes.length; size += got)
      got = readSync(fd, bytes, size, bytes.length - size, null);
    return { text: bytes.toString('utf8', 0, size), stats };
  } finally {
    closeSync(fd);
  }
}
