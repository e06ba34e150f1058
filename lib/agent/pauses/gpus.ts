import type { GpuHolder } from '../../events.js';
import type { RoundProcesses } from '../../gpu/holders.js';
import { waitForGpus } from '../../gpu/wait.js';
import { deferred } from '../../util/deferred.js';
import type { HookRun } from './pauses.js';

/** Limit of one look for holders: the driver may hang, and there may be very many processes. */
const lookMs = 2000;

/** The pause in which GPUs become free. */
export interface GpuPause {
  /**
   * @param over called once, unless it's ended before
   * @param withStrangers whether processes that aren't the round's are told, too
   */
  begin(round: RoundProcesses, withStrangers: boolean, over: () => void): HookRun;
}

/** @param tell gets those who hold a GPU in the end: strangers once, ours each time */
export function gpuPause(waitMs: number, tell: (holders: readonly GpuHolder[]) => void): GpuPause {
  const told = new Set<number>();
  return {
    begin(round, withStrangers, over) {
      const cancelled = deferred<void>();
      let isCancelled = false;

      async function run(): Promise<void> {
        const holders = await waitForGpus(waitMs, {
          // Only now: it loads what a start can do without.
          look: async () => (await import('../../gpu/holders.js')).findGpuHolders(round, lookMs),
          nowMs: () => performance.now(),
          sleep: ms => sleepUnless(cancelled.promise, ms),
          isCancelled: () => isCancelled,
        });
        if (isCancelled) return;
        const news = holders.filter(
          ({ pid, isOurs }) => isOurs || (withStrangers && !told.has(pid)),
        );
        for (const { pid } of news) told.add(pid);
        if (news.length > 0) tell(news);
      }

      void run()
        .catch(() => {}) // /proc isn't there, or no thread can be had: nothing is known, nobody waits
        .then(() => {
          if (!isCancelled) over();
        });
      return {
        end() {
          isCancelled = true;
          cancelled.resolve();
        },
        gone: Promise.resolve(),
      };
    },
  };
}

function sleepUnless(cancelled: Promise<void>, ms: number): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms);
    void cancelled.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
