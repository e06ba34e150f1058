import { codeOf } from '../util/errno.js';

/** Whether there's a process of that number, be it somebody else's or one that has ended and isn't reaped. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}
