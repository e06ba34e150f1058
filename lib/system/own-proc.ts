import { readFileSync } from 'node:fs';

/**
 * Whether /proc speaks of our PID namespace, so that a pid of ours names the same process there. In one
 * that was made without a /proc of its own (`unshare --pid --fork`) it's the parent's, where the number
 * belongs to a stranger.
 *
 * @source Linux, Documentation/filesystems/proc.rst, NSpid: one number for each namespace from /proc's
 *   down to the process's; absent where the kernel has none
 */
export function procIsOurs(): boolean {
  let status: string;
  try {
    status = readFileSync('/proc/self/status', 'latin1');
  } catch {
    return false; // nothing is mounted there
  }
  const pid = String(process.pid);
  const numbers = /^NSpid:\t(.*)$/m.exec(status)?.[1] ?? pid;
  return new RegExp(`^Pid:\\t${pid}$`, 'm').test(status) && numbers === pid;
}
