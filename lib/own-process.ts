import { loadedNative, native } from './native/addon.js';
import type { NativeStart } from './native/plan.js';

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
/** Has a `plan` that follows know GPUs that only NVIDIA's library knows. */
export { learnGpus } from './machine/this-machine.js';

/**
 * Ends the process without Node's tear-down; its `exit` listeners don't run. For our commands only,
 * when a run is over. Returns if the addon hasn't been needed: then Node ends soon by itself.
 */
export function exitNow(code: number): void {
  loadedNative()?.exitNow(code);
}
