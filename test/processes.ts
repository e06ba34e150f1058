import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Live processes that have an entry in their environment.
 *
 * Reading the environment of a stranger can take for ever: one that hangs on a dead disk while it execs makes
 * its readers wait. So only those are looked at that are in this test file's cgroup (`scripts/own-cgroup.mjs`
 * makes one wherever it can), which also hold whatever the file's processes have started.
 *
 * @param entry `NAME=value`
 */
export function processesWith(entry: string): number[] {
  return candidates().filter(pid => {
    const environ = attempt(() => readFileSync(`/proc/${pid}/environ`, 'latin1'));
    return environ?.split('\0').includes(entry) && isAlive(pid);
  });
}

/** Dead ones whose new parent, init, hasn't got round to them yet don't count. */
export function isAlive(pid: number): boolean {
  return !/^State:\s+[ZX]/m.test(
    attempt(() => readFileSync(`/proc/${pid}/status`, 'utf8')) ?? 'State: X',
  );
}

/** Children of a process that runs; its threads come and go while they're listed. */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`)
    .flatMap(task =>
      (attempt(() => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8')) ?? '').split(' '),
    )
    .filter(child => child !== '')
    .map(Number);
}

/** With a NUL behind each word; empty where there's none, or no such process any more. */
export function commandLineOf(pid: number): string {
  return attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '';
}

function candidates(): number[] {
  const own = ownFolder();
  const names = own === undefined ? readdirSync('/proc') : membersBelow(own);
  return names.map(Number).filter(pid => pid > 1 && pid !== process.pid);
}

/** Where this file's cgroup is mounted; absent if it has none of its own. */
function ownFolder(): string | undefined {
  const paths = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .map(line => line.split(':').slice(2).join(':'))
    .filter(path => path.includes('/test-file-'));
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(line => / - cgroup2? /.test(line))
    .map(line => line.split(' ')[4] ?? '');
  return points
    .flatMap(point => paths.map(path => join(point, path)))
    .find(folder => attempt(() => readFileSync(join(folder, 'cgroup.procs'))) !== undefined);
}

function membersBelow(folder: string): string[] {
  const own = attempt(() => readFileSync(join(folder, 'cgroup.procs'), 'utf8')) ?? '';
  const entries = attempt(() => readdirSync(folder, { withFileTypes: true })) ?? [];
  const below = entries.filter(entry => entry.isDirectory());
  return [
    ...own.split('\n').filter(Boolean),
    ...below.flatMap(entry => membersBelow(join(folder, entry.name))),
  ];
}

/** Processes and cgroups come and go while they're read: one that's gone has nothing to say. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
