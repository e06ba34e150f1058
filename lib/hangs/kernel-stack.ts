import type { Stuck } from '../events.js';
import type { NativeStuck } from '../native/events.js';
import { procIsOurs } from '../system/own-proc.js';
import { runBounded } from './bounded-child.js';

/** Where in the kernel a process sleeps that SIGKILL doesn't end. */

/** Limit of looking for a kernel stack. It's told when the node is given up, so nobody minds the time. */
const boundMs = 2000;
/** All threads of a process may wait for the same dead disk. */
const maxThreads = 4;

/**
 * First its wait channel, then the stacks of those threads that no signal reaches; the others have ended already.
 * $1: pid, $2: how many.
 *
 * @source man proc_pid_stack(5): needs CAP_SYS_ADMIN
 */
const script = `
printf '%s\\n' "$(cat /proc/$1/wchan 2>/dev/null)"
for task in /proc/$1/task/*; do
  grep -q '^State:[^A-Z]*D' $task/status 2>/dev/null || continue
  [ $2 -gt 0 ] || break
  set -- $1 $(($2 - 1))
  stack=$(cat $task/stack 2>/dev/null)
  [ -z "$stack" ] || printf 'thread %s (%s):\n%s\n' \${task##*/} "$(cat $task/comm 2>/dev/null)" "$stack"
done
`;

/**
 * What the core tells of workers that are stuck, with where they sleep, as far as we may read it.
 *
 * Reading that can get stuck as well, so a child of ours does it, and is left alone when its time is over.
 */
export function whereStuck(stuck: readonly NativeStuck[]): Promise<Stuck[]> {
  return Promise.all(
    stuck.map(async ({ index, pid, state }) => {
      const text = procIsOurs() ? await readPlaces(pid) : '';
      const [waitChannel = '', ...stack] = text.split('\n');
      return {
        localRank: index,
        state,
        waitChannel: waitChannel === '0' ? '' : waitChannel,
        // Without runBounded's note: that it's stuck is being told.
        kernelStack: stack
          .filter(line => !/^\(not done after/.test(line))
          .join('\n')
          .trim(),
      };
    }),
  );
}

/**
 * Where the main threads of processes sleep, in their order; empty: it runs, or we may not know. Takes a second at most.
 *
 * @param stop ends it before
 */
export async function waitChannels(
  pids: readonly number[],
  stop: AbortSignal,
): Promise<readonly string[]> {
  if (!procIsOurs()) return [];
  const each = 'for pid; do printf "%s\\n" "$(cat /proc/$pid/wchan 2>/dev/null)"; done';
  const args = ['-c', each, 'sh', ...pids.map(String)];
  const text = await runBounded('/bin/sh', args, 1000, stop).catch(() => ''); // no process can be had any more
  return text.split('\n').map(channel => (/^[a-z_]\w*$/i.test(channel) ? channel : ''));
}

function readPlaces(pid: number): Promise<string> {
  const args = ['-c', script, 'sh', String(pid), String(maxThreads)];
  // No process can be had any more: the worker is told without.
  return runBounded('/bin/sh', args, boundMs).catch(() => '');
}
