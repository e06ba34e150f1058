import { native } from '../native/addon.js';

/** @source libuv, docs/src/threadpool.rst: four, or what UV_THREADPOOL_SIZE says, up to 1024 */
const poolThreads = 4;
const maxPoolThreads = 1024;

let isThere = false;

/**
 * Makes sure of the threads of Node's pool, before whatever uses it first: where one can't be had, libuv ends the process
 * without a word.
 *
 * @throws with `code` (EAGAIN) and `syscall`
 */
export function needPool(): void {
  if (isThere) return;
  const wanted = Number(process.env.UV_THREADPOOL_SIZE ?? poolThreads);
  native().probeThreads(wanted >= 1 ? Math.min(wanted, maxPoolThreads) : poolThreads);
  isThere = true;
}
