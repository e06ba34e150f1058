import type { CliRun } from '../../harness.js';

/** Waits for so many workers that have said `ready PID COOKIE`. @returns their numbers, and the cookie of their group */
export async function ready(
  run: CliRun,
  count: number,
): Promise<{ pids: number[]; cookie: string }> {
  const pids: number[] = [];
  let cookie = '';
  while (pids.length < count) {
    const [, pid, told] = /ready (\d+) (\S+)/.exec(await run.line(/ready \d+ \S+/)) ?? [];
    pids.push(Number(pid));
    cookie = told ?? '';
  }
  return { pids, cookie };
}
