import type { HeldSeat, SeatOptions } from './agent/seat/seat.js';
import type { AgentEvent } from './events.js';
import { loadedNative, native } from './native/addon.js';
import type { NativeStart } from './native/plan.js';
import { type LaunchOptions, withDefaults } from './options/launch-options.js';
import { exactEnv } from './system/exact.js';

/** What our commands need of their process, and other callers of `launch` don't. */

/** What a command's process was started with and Node has changed since. */
export type StartedWith = NativeStart;

/**
 * Lets workers start with it, as if Node hadn't changed it. For our commands only: it's the process's, not a run's.
 *
 * @throws ERR_NATIVE_MISSING
 */
export function startedWith(start: StartedWith): void {
  native().startedWith(start);
}

/** Reaps what has ended, for process 1 whose only children are one run's workers and orphans. */
export { reapOrphans } from './agent/core.js';
export type { HeldSeat, Order } from './agent/seat/seat.js';
/** Has a `plan` that follows know GPUs that only NVIDIA's library knows. */
export { learnGpus } from './machine/this-machine.js';

/**
 * Holds a node's place in a job for an agent of torchrun, whose rendezvous handler is python/regroup/rendezvous.py.
 *
 * @param cookie what that agent's workers bear as REGROUP_COOKIE: whatever bears it dies with this process, unless that ends well
 * @throws ERR_OPTION, ERR_NATIVE_MISSING, ERR_MACHINE
 */
export async function holdSeatFor(
  options: LaunchOptions,
  { cookie, hear, tell }: Pick<SeatOptions, 'cookie' | 'hear'> & { tell(event: AgentEvent): void },
): Promise<HeldSeat> {
  const settings = withDefaults(options);
  const { holdSeat } = await import('./agent/seat/seat.js'); // few need it
  return holdSeat({ settings, env: exactEnv(), cookie, hear, tell });
}

/**
 * Ends the process without Node's tear-down; its `exit` listeners don't run. For our commands only,
 * when a run is over. Returns if the addon hasn't been needed: then Node ends soon by itself.
 */
export function exitNow(code: number): void {
  loadedNative()?.exitNow(code);
}
