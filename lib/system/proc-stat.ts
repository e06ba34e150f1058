/** What /proc tells of a process, as far as somebody asks. */
export interface ProcStat {
  /** `R`, `S`, `D`, `Z` and others. */
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Since the machine's start, in the kernel's ticks: by it two processes that had the same number differ. */
  readonly startedAt: number;
}

/**
 * @param text of /proc/PID/stat
 * @returns undefined where it's none, such as the empty text of a process that's gone
 * @source Linux, Documentation/filesystems/proc.rst, table 1-4
 */
export function procStatIn(text: string): ProcStat | undefined {
  // Its name may have any sign in it; the others come behind the last bracket, from the third on.
  const [state = '', ...numbers] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (field: number): number => Number(numbers[field - 4]);
  const [parent, session, startedAt] = [number(4), number(6), number(22)];
  const isWhole = [parent, session, startedAt].every(Number.isInteger);
  return isWhole ? { state, parent, session, startedAt } : undefined;
}
