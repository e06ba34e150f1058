import { readFileSync } from 'node:fs';
import { procIsOurs } from './own-proc.js';

/** What the kernel lets a process use, as lists: `0-3,8`. */
export interface Allowed {
  readonly cpus: string;
  readonly memoryNodes: string;
}

/**
 * The CPUs and memory nodes of a process: its affinity, cut to what its cpuset has. A memory policy
 * narrows the nodes further, but only /proc/PID/numa_maps would tell, and walks all its pages for it.
 *
 * @returns undefined where the process is gone, or /proc hides it or is another namespace's
 * @source Linux, Documentation/filesystems/proc.rst, Cpus_allowed_list and Mems_allowed_list
 */
export function allowedOf(pid: number | 'self'): Allowed | undefined {
  if (pid !== 'self' && !procIsOurs()) return undefined;
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    return undefined; // ENOENT, ESRCH or EACCES; the caller only wanted to look
  }
  const cpus = /^Cpus_allowed_list:\t(.*)$/m.exec(status)?.[1];
  // A kernel without NUMA has no such line, and one node.
  const memoryNodes = /^Mems_allowed_list:\t(.*)$/m.exec(status)?.[1] ?? '0';
  return cpus === undefined ? undefined : { cpus, memoryNodes };
}
