import { readFileSync } from 'node:fs';
import { readText } from '../system/files.js';
import { procStatIn } from '../system/proc-stat.js';

/** More than any chain of shells and launchers. */
const maxParents = 64;

/** Whose a process is, as far as /proc proves it. */
export type Owner =
  | { readonly is: 'found'; readonly pid: number }
  /** Nobody of those has started it. */
  | { readonly is: 'nobody' }
  | { readonly is: 'gone' }
  /** The process is gone, and its number is another's. */
  | { readonly is: 'another' };

/** When the process of that number has begun, in the kernel's ticks; by it two that had the same number differ. Undefined: there's none. */
export function startedAt(pid: number): number | undefined {
  try {
    return procStatIn(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.startedAt;
  } catch {
    return undefined; // it's gone
  }
}

/**
 * The nearest of those that have started a process that is one of these.
 *
 * @param began when it had begun, as `startedAt` has it
 * @param isOne whether it's one of those, which keep their numbers
 */
export async function ownerOf(
  pid: number,
  began: number,
  isOne: (pid: number) => boolean,
): Promise<Owner> {
  let each = pid;
  let ofChild = began;
  for (let parents = 0; parents < maxParents; parents++) {
    const stat = procStatIn(await readText(`/proc/${each}/stat`).catch(() => '')); // it's gone
    if (stat === undefined) return { is: parents === 0 ? 'gone' : 'nobody' };
    if (parents === 0 && stat.startedAt !== began) return { is: 'another' };
    // It has the number of a parent that's gone: a parent is older than its child.
    if (stat.startedAt > ofChild) return { is: 'nobody' };
    if (isOne(each)) return { is: 'found', pid: each };
    if (each <= 1) return { is: 'nobody' };
    each = stat.parent;
    ofChild = stat.startedAt;
  }
  return { is: 'nobody' };
}
