import { readText } from '../system/files.js';
import { procIsOurs } from '../system/own-proc.js';

/** More than any chain of shells and launchers. */
const maxParents = 64;

/**
 * The process itself, or the nearest of those that have started it, that is one of these.
 *
 * @param isOne whether it's one of those
 * @returns undefined where none is, also for a process that's gone
 */
export async function nearestOf(
  pid: number,
  isOne: (pid: number) => boolean,
): Promise<number | undefined> {
  let each = pid;
  for (let parents = 0; parents < maxParents; parents++) {
    if (isOne(each)) return each;
    if (each <= 1 || !procIsOurs()) return undefined;
    // Its name may have any sign in it; the numbers come behind the last bracket.
    const stat = await readText(`/proc/${each}/stat`).catch(() => ''); // it's gone
    const parent = /^ \S (\d+) /.exec(stat.slice(stat.lastIndexOf(')') + 1))?.[1];
    if (parent === undefined) return undefined;
    each = Number(parent);
  }
  return undefined;
}
