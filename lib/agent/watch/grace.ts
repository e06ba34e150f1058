import type { StopsEvent } from '../../events/stops.js';
import { waitChannels } from '../../hangs/kernel-stack.js';
import type { Happening } from '../step/state.js';

/** What tells, while workers are being stopped, that some don't end. */
export interface GraceWatch {
  /** A grace period begins; the one before is over. */
  begin(round: number, graceMs: number): void;
  /** Adds where they sleep, and tells it if `isNews` still. */
  tell(told: StopsEvent, isNews: () => boolean): Promise<void>;
  close(): void;
}

/** Of a shorter one people would read no sooner than it's over. */
const leastGraceMs = 2000;
/** Workers that are looked at. */
const maxLooks = 16;

export function watchGrace({
  happen,
  tell,
  asGuests,
}: {
  happen(happening: Happening): void;
  tell(event: StopsEvent): void;
  /** Around what starts children by Node. */
  asGuests<T>(body: () => Promise<T>): Promise<T>;
}): GraceWatch {
  const closing = new AbortController();
  let half: NodeJS.Timeout | undefined;
  return {
    begin(round, graceMs) {
      clearTimeout(half);
      if (graceMs < leastGraceMs) return;
      half = setTimeout(() => happen({ event: 'half-grace', round }), graceMs / 2).unref();
    },
    async tell(told, isNews) {
      const pids = told.workers.slice(0, maxLooks).map(({ pid }) => pid);
      const channels = await asGuests(() => waitChannels(pids, closing.signal));
      const workers = told.workers.map((worker, i) => {
        const waitChannel = channels[i] ?? '';
        return waitChannel === '' ? worker : { ...worker, waitChannel };
      });
      if (isNews()) tell({ ...told, workers });
    },
    close() {
      clearTimeout(half);
      closing.abort();
    },
  };
}
