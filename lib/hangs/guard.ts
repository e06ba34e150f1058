import type { AgentEvent, Hang, WorkerIdentity } from '../events.js';
import type { WorkerFiles } from '../logs/layout.js';
import { fileOf } from '../logs/streams.js';
import type { NativePlan } from '../native/plan.js';
import type { NativeStoreSlot } from '../native/store.js';
import type { HangOptions } from '../options/hangs.js';
import type { Disk } from '../system/disk.js';
import { signalNumber } from '../util/signals.js';
import { type Culprit, culpritOf } from './culprit.js';
import type { Dump } from './dump.js';
import { type HangWatch, watchForHangs } from './watch.js';

/** What follows from a hang in one round: it's told, then stacks are written, then the group ends. */

const defaultDumpMs = 10_000;

export interface HangGuard {
  /** A worker has ended, or has returned and waits for the others. */
  ended(localRank: number): void;
  /** Nothing is told and nobody is disturbed any more. */
  close(): void;
}

/** What taking stacks needs of a round. */
export interface DumpedRound {
  readonly plans: readonly NativePlan[];
  readonly files: readonly WorkerFiles[] | undefined;
  /** PATH of the workers. */
  readonly path: string | undefined;
  /** The disk of the log folders. */
  readonly disk: Disk;
}

export interface GuardedRound extends DumpedRound {
  readonly workers: readonly WorkerIdentity[];
  slots(): readonly NativeStoreSlot[] | undefined;
  nowMs(): number;
  tell(event: AgentEvent): void;
  onHung(hang: Hang): void;
  /** Around what starts children by Node. */
  asGuests<T>(body: () => Promise<T>): Promise<T>;
}

export function hangGuard(options: HangOptions, round: GuardedRound): HangGuard {
  const { action = 'restart' } = options;
  const closing = new AbortController();
  const { signal: closed } = closing;
  let isDumping = false;
  /** What the rules have found, by local rank, until the worker moves. */
  const found = new Map<number, { readonly hang: Hang; readonly atMs: number }>();

  async function onHang(
    hangs: readonly Hang[],
    movedMs: ReadonlyMap<number, number>,
  ): Promise<void> {
    for (const [localRank, { atMs }] of found)
      if ((movedMs.get(localRank) ?? atMs) > atMs) found.delete(localRank);
    for (const hang of hangs) {
      const atMs = round.nowMs();
      // A wrong value is wrong whatever else is found.
      if (found.get(hang.worker.localRank)?.hang.rule !== 'value')
        found.set(hang.worker.localRank, { hang, atMs });
      round.tell({ event: 'hung', hang, action, atMs });
    }
    const [first] = hangs;
    if (action === 'notify' || isDumping || first === undefined) return;

    isDumping = true;
    const dump = await round
      .asGuests(() => dumpRound(round, watch.living(), options, closed))
      .catch((): undefined => undefined); // a hang ends without its stacks, too
    isDumping = false;
    if (closed.aborted) return;
    const culprit = culpritOf(
      // Who has ended meanwhile hung at least for the others.
      watch.living().map(worker => ({
        worker,
        place: dump?.places.get(worker.rank),
        found: found.get(worker.localRank)?.hang.rule,
        movedMs: movedMs.get(worker.localRank),
      })),
    );
    round.tell({
      event: 'dumped',
      files: dump?.files ?? [],
      summary: dump?.summary ?? 'unknown',
      ...(culprit === undefined ? {} : { culprit: culprit.worker }),
      ...(culprit?.because === undefined ? {} : { because: culprit.because }),
      lacksPySpy: dump !== undefined && !dump.hasPySpy && !dump.hasFrames,
      atMs: round.nowMs(),
    });
    if (action === 'restart' && culprit !== undefined) round.onHung(hangOf(first, culprit));
  }

  function hangOf(first: Hang, { worker, because }: Culprit): Hang {
    const own = found.get(worker.localRank)?.hang ?? { ...first, worker };
    return because === undefined ? own : { ...own, message: `${own.message}; ${because}` };
  }

  const watch: HangWatch = watchForHangs({
    rules: options,
    workers: round.workers,
    outputs: round.plans.map(({ stdout, stderr }) =>
      [fileOf(stdout), fileOf(stderr)].filter(path => path !== undefined),
    ),
    disk: round.disk,
    slots: round.slots,
    nowMs: round.nowMs,
    onHang: (hangs, movedMs) => void onHang(hangs, movedMs),
    onTrouble: (worker, path, reason) =>
      round.tell({ event: 'hang-rules-blind', worker, path, reason, atMs: round.nowMs() }),
  });
  return {
    ended: watch.ended,
    close() {
      closing.abort();
      watch.close();
    },
  };
}

/**
 * Takes the stacks of some of a round's workers.
 *
 * @param stop nobody is disturbed any more once it's aborted
 */
export async function dumpRound(
  round: DumpedRound,
  workers: readonly WorkerIdentity[],
  { dumpMs = defaultDumpMs, dumpSignal }: Pick<HangOptions, 'dumpMs' | 'dumpSignal'>,
  stop: AbortSignal,
): Promise<Dump> {
  const number = dumpSignal === undefined ? undefined : signalNumber(dumpSignal);
  const targets = workers.map(worker => ({
    worker,
    folder: round.files?.[worker.localRank]?.folder,
    stderr: fileOf(round.plans[worker.localRank]?.stderr),
  }));
  // Only now: few runs hang.
  const { dumpStacks } = await import('./dump.js');
  return dumpStacks(targets, {
    boundMs: dumpMs,
    signal:
      dumpSignal === undefined || number === undefined ? undefined : { name: dumpSignal, number },
    path: round.path,
    disk: round.disk,
    stop,
  });
}
