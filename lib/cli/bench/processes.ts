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

/** A process and its descendants, as far as they haven't lost their parents. */
export function treeOf(pid: number): Process[] {
  const startedAt = startOf(pid);
  if (startedAt === undefined) return [];
  return [{ pid, startedAt }, ...childrenOf(pid).flatMap(treeOf)];
}

/** The topmost descendants that have a rank: workers, and not what they have started. */
export function rankedBelow(pid: number): Ranked[] {
  return childrenOf(pid).flatMap(child => {
    const names = variablesOf(child);
    const startedAt = startOf(child);
    if (startedAt === undefined) return [];
    if (!names.has('RANK')) return rankedBelow(child);
    return [{ pid: child, startedAt, isStandby: names.has('REGROUP_STANDBY') }];
  });
}

export function isAlive({ pid, startedAt }: Process): boolean {
  return startOf(pid) === startedAt;
}

/** @returns undefined for one that's gone, or dead and not yet waited for. @source proc(5), /proc/PID/stat, fields 3 and 22 */
function startOf(pid: number): string | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? '';
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === undefined || /^[ZX]?$/.test(fields[0]) ? undefined : fields[19];
}

function childrenOf(pid: number): number[] {
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
