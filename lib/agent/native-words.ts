import type { WorkerExit } from '../events.js';
import type { NativeExit } from '../native/events.js';
import { signalName } from '../util/signals.js';

/** What the addon tells, in the agent's words. */

export function exitOf(exit: NativeExit): WorkerExit {
  if (exit.how !== 'signaled') return exit;
  const { signal: number, coreDumped } = exit;
  const signal = signalName(number) ?? `SIG${number}`;
  return { how: 'signaled', signal, signalNumber: number, coreDumped };
}
