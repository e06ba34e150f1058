import type { WorkerExit } from '../events.js';
import type { NativeExit, NativeStuck } from '../native.js';
import { signalName } from '../util/signals.js';
import type { Stuck } from './state.js';

/** What the addon tells, in the agent's words. */

export function exitOf(exit: NativeExit): WorkerExit {
  if (exit.how !== 'signaled') return exit;
  const { signal: number, coreDumped } = exit;
  const signal = signalName(number) ?? `SIG${number}`;
  return { how: 'signaled', signal, signalNumber: number, coreDumped };
}

export function stuckOf({ index, state, waitChannel }: NativeStuck): Stuck {
  return { localRank: index, state, waitChannel };
}
