import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';

/** Files of a limit, version 2's first. */
const files = {
  memory: ['memory.max', 'memory.limit_in_bytes'],
  pids: ['pids.max'],
} as const;

/** What a command has to be started under to be in a cgroup of the test's own; undefined where none can be made. */
export function limited(
  t: Test,
  controller: keyof typeof files,
  limit: number,
): readonly string[] | undefined {
  return limitedCgroup(t, controller, limit)?.under;
}

/** A cgroup of the test's own, removed when its last process is gone. */
export interface LimitedCgroup {
  /** What a command has to be started under to be in it. */
  readonly under: readonly string[];
  setLimit(limit: number): void;
}

/** Undefined where none can be made. */
export function limitedCgroup(
  t: Test,
  controller: keyof typeof files,
  limit: number,
): LimitedCgroup | undefined {
  const mounts = cgroupMounts();
  const v1 = mounts.find(line => new RegExp(` - cgroup .*\\b${controller}\\b`).test(line));
  const v2 = mounts.find(line => / - cgroup2 /.test(line));
  const point = (v1 ?? v2)?.split(' ')[4];
  if (point === undefined) return undefined;
  const folder = join(point, `regroup-test-${process.pid}-${Math.random().toString(36).slice(2)}`);
  try {
    mkdirSync(folder);
  } catch {
    return undefined;
  }
  t.teardown(async () => {
    // Its last process may still be on its way out.
    while (readFileSync(join(folder, 'cgroup.procs'), 'utf8') !== '') await sleep(2);
    rmdirSync(folder);
  });
  const there = readdirSync(folder);
  const file = files[controller].find(name => there.includes(name));
  if (file === undefined) return undefined;
  const setLimit = (now: number): void => writeFileSync(join(folder, file), String(now));
  setLimit(limit);
  return {
    under: ['sh', '-c', `echo $$ >${folder}/cgroup.procs && exec "$@"`, 'sh'],
    setLimit,
  };
}

/** Lines of mountinfo. */
function cgroupMounts(): readonly string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.filter(line => / - cgroup2? /.test(line));
}

/** A process's cgroups, by their controllers. */
export function cgroupsOf(pid: number): Readonly<Record<string, string>> {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  return Object.fromEntries(lines.map(line => line.split(':').slice(1) as [string, string]));
}

/** The folders that its agent has made, wherever they're mounted: the group's, not the worker's in it. */
export function agentCgroupsOf(pid: number): readonly string[] {
  const points = cgroupMounts().map(line => line.split(' ')[4] ?? '');
  return Object.values(cgroupsOf(pid))
    .filter(path => path.includes('/regroup-'))
    .flatMap(path => points.map(point => join(point, path.replace(/\/worker-\d+$/, ''))))
    .filter(path => existsSync(path));
}
