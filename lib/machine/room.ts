import {
  type CgroupFolder,
  cgroupFolder,
  limitIn,
  type ReadFile,
  readIfAny,
  upwards,
} from '../system/cgroup-folders.js';

/** Whether so much more fits into this machine and into the cgroups that this process is in. */

/** What some processes are about to take. */
export interface Need {
  readonly bytes: number;
  /** Processes and threads. */
  readonly tasks: number;
}

/** How much of a limit may be taken: beyond, those who have taken it already would pay. */
const share = 0.95;

/**
 * Why there isn't room, in a sentence; undefined: there is, or nobody knows. Memory that's only a cache of files, and of what the kernel
 * knows of them, counts as free, also what was read more than once: a data set keeps a cgroup at its limit.
 *
 * @source Linux 6.18, Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst
 */
export async function whyNoRoom(
  need: Need,
  read: ReadFile = readIfAny,
): Promise<string | undefined> {
  const memory = await cgroupFolder('memory', read);
  const pids = await cgroupFolder('pids', read);
  for (const path of memory ? upwards(memory) : []) {
    const why = await whyNoMemory(path, memory?.version, need.bytes, read);
    if (why !== undefined) return why;
  }
  for (const path of pids ? upwards(pids) : []) {
    const limit = limitIn(await read(`${path}/pids.max`));
    const used = limitIn(await read(`${path}/pids.current`));
    if (limit !== undefined && used !== undefined && used + need.tasks > limit)
      return `there are ${used} processes and threads of ${limit} in ${path}/pids.max`;
  }
  const available = /^MemAvailable: +(\d+) kB$/m.exec((await read('/proc/meminfo')) ?? '')?.[1];
  if (available !== undefined && Number(available) * 1024 < need.bytes)
    return `${megabytes(Number(available) * 1024)} of memory are left`;
  return undefined;
}

async function whyNoMemory(
  path: string,
  version: CgroupFolder['version'] | undefined,
  bytes: number,
  read: ReadFile,
): Promise<string | undefined> {
  const { used, caches, limits } = version === 1 ? filesOfV1 : filesOfV2;
  const taken = limitIn(await read(`${path}/${used}`));
  // The root has no such file, nor a limit.
  if (taken === undefined) return undefined;
  const stat = new Map(
    ((await read(`${path}/memory.stat`)) ?? '').split('\n').map(line => {
      const [name = '', bytes] = line.split(' ');
      return [name, Number(bytes)];
    }),
  );
  const cached = caches.reduce((sum, name) => sum + (stat.get(name) ?? 0), 0);
  const kept = Math.max(0, taken - cached);
  for (const name of limits) {
    const limit = limitIn(await read(`${path}/${name}`));
    if (limit !== undefined && kept + bytes > share * limit)
      return `${megabytes(kept)} are taken of ${megabytes(limit)} in ${path}/${name}`;
  }
  return undefined;
}

const filesOfV1 = {
  used: 'memory.usage_in_bytes',
  caches: ['total_inactive_file', 'total_active_file'],
  limits: ['memory.limit_in_bytes'],
} as const;
const filesOfV2 = {
  used: 'memory.current',
  caches: ['inactive_file', 'active_file', 'slab_reclaimable'],
  limits: ['memory.max', 'memory.high'],
} as const;

/** Of 10^6 bytes, for people. */
export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** Where the kernel tells of tasks that wait for memory: in our cgroup, and in the whole machine. */
export async function pressureFiles(read: ReadFile = readIfAny): Promise<readonly string[]> {
  const memory = await cgroupFolder('memory', read);
  const own = memory?.version === 2 ? [`${memory.path}/memory.pressure`] : [];
  return [...own, '/proc/pressure/memory'];
}
