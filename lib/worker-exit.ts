import type { WorkerExit } from './events.js';

/** Whether a worker has ended well. */
export function isSuccess(exit: WorkerExit): boolean {
  return exit.how === 'exited' && exit.code === 0;
}

/** A worker's exit code as Python's subprocess has it. 255 for a status that somebody else took: it's no success. */
export function exitcodeOf(exit: WorkerExit): number {
  switch (exit.how) {
    case 'exited':
      return exit.code;
    case 'signaled':
      return -exit.signalNumber;
    case 'unknown':
      return 255;
  }
}

/** A worker's end for people: `exited with code 3`, `was killed by SIGSEGV (core dumped)`: completes "worker 3 …". */
export function describeExit(exit: WorkerExit): string {
  switch (exit.how) {
    case 'exited':
      return `exited with code ${exit.code}`;
    case 'signaled':
      return `was killed by ${exit.signal}${exit.coreDumped ? ' (core dumped)' : ''}`;
    case 'unknown':
      return 'ended with a status that another part of this process has taken';
  }
}
