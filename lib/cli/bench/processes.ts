import { readdirSync, readFileSync } from 'node:fs';

/** A process, told from a later one with the same number. */
export interface Process {
  readonly pid: number;
  /** Clock ticks from the boot to its start. */
  readonly startedAt: string;
}

/** A process of a job that has a rank. */
export interface Ranked extends Process {
  /** Whether it was started to stand by: it's a worker only once it has taken a round over. */
  readonly isStandby: boolean;
}

/** The process that has a number now. @returns undefined where none has, or it's dead and not yet waited for */
export function processOf(pid: number): Process | undefined {
  const stat = statOf(pid);
  return stat && { pid, startedAt: stat.startedAt };
}

/** A process and its descendants, as far as they haven't lost their parents. */
export function treeOf(process: Process): Process[] {
  return [process, ...childrenOf(process).flatMap(treeOf)];
}

/** The topmost descendants that have a rank: workers, and not what they have started. */
export function rankedBelow(process: Process): Ranked[] {
  return childrenOf(process).flatMap(child => {
    const names = variablesOf(child.pid);
    if (!names.has('RANK')) return rankedBelow(child);
    return [{ ...child, isStandby: names.has('REGROUP_STANDBY') }];
  });
}

export function isAlive({ pid, startedAt }: Process): boolean {
  return statOf(pid)?.startedAt === startedAt;
}

/** @returns undefined for one that's gone, or dead and not yet waited for. @source proc(5), /proc/PID/stat, fields 3, 4 and 22 */
function statOf(pid: number): { parent: number; startedAt: string } | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? '';
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent, startedAt] = [fields[0], fields[1], fields[19]];
  if (startedAt === undefined || state === 'Z' || state === 'X') return undefined;
  return { parent: Number(parent), startedAt };
}

/** Children of a process, and of none that has got the number of it or of a child meanwhile. */
function childrenOf(process: Process): Process[] {
  const { pid } = process;
  const children = childNumbersOf(pid).flatMap(child => {
    const stat = statOf(child);
    return stat?.parent === pid ? [{ pid: child, startedAt: stat.startedAt }] : [];
  });
  return isAlive(process) ? children : [];
}

function childNumbersOf(pid: number): number[] {
  const threads = attempt(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return threads
    .flatMap(thread =>
      (attempt(() => readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1')) ?? '').split(
        ' ',
      ),
    )
    .filter(child => child !== '')
    .map(Number);
}

function variablesOf(pid: number): ReadonlySet<string> {
  const environ = attempt(() => readFileSync(`/proc/${pid}/environ`, 'latin1')) ?? '';
  return new Set(environ.split('\0').map(entry => entry.slice(0, entry.indexOf('='))));
}

/** Processes end while they're looked at: one that's gone has nothing to say. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
