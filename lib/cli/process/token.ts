import { closeSync, openSync, readSync } from 'node:fs';
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
  const from = file === undefined ? 'REGROUP_TOKEN' : option;
  if (file === undefined && variable === '') return { token: undefined };
  let token: string;
  try {
    token = (file === undefined ? variable : startOf(file)).trim();
  } catch (error) {
    const why = `${file} can't be read (${codeOf(error) ?? String(error)})`;
    return { from, why, accepted: "a file with the job's token" };
  }
  const why = tokenProblem(token);
  if (why === undefined) return { token };
  const where = file === undefined ? '' : `${file}: `;
  return { from, why: `${where}${why}`, accepted: acceptedToken };
}

/** As much of a file as may be a token, and a little more. */
function startOf(path: string): string {
  const bytes = Buffer.alloc(4 * maxTokenCharacters + 64);
  const fd = openSync(path, 'r');
  try {
    let size = 0;
    for (let got = -1; got !== 0 && size < bytes.length; size += got)
      got = readSync(fd, bytes, size, bytes.length - size, null);
    return bytes.toString('utf8', 0, size);
  } finally {
    closeSync(fd);
  }
}
