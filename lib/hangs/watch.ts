import type { Hang, WorkerIdentity } from '../events.js';
import type { NativeStoreSlot } from '../native/store.js';
import { type HangOptions, watchesOutput } from '../options/hangs.js';
import type { Disk } from '../system/disk.js';
import { newestBeat } from './beats.js';
import { type News, type OutputReader, outputReader } from './output.js';
import { type HangState, judge, lastMovedMs, type Observation, watchFrom } from './rules.js';

/** Looks when `judge` wants it to; nothing wakes up in between, or where no rule is on. */

export interface HangWatch {
  ended(localRank: number): void;
  /** Workers that haven't ended. */
  living(): WorkerIdentity[];
  close(): void;
}

export interface Watching {
  readonly rules: HangOptions;
  readonly workers: readonly WorkerIdentity[];
  /** Files that each worker's output goes to, by local rank. */
  readonly outputs: readonly (readonly string[])[];
  readonly disk: Disk;
  /** What clients of shared memory have told; undefined if nobody knows at the moment. */
  slots(): readonly NativeStoreSlot[] | undefined;
  nowMs(): number;
  /** @param movedMs when a worker did last what the rule is about, by local rank; absent: never */
  onHang(hangs: readonly Hang[], movedMs: ReadonlyMap<number, number>): void;
  /** A file can't be seen, so that rules about it wait. Once, until it can be again. */
  onTrouble(worker: WorkerIdentity, path: string, reason: string): void;
}

/** Limit of one look at the log files, for a disk that doesn't answer. */
const lookMs = 2000;

export function watchForHangs(watching: Watching): HangWatch {
  const { rules, workers, disk, nowMs } = watching;
  const pattern = rules.expect === undefined ? undefined : new RegExp(rules.expect.pattern);
  const readers = watching.outputs.map(paths =>
    watchesOutput(rules) ? paths.map(path => outputReader(path, pattern, disk)) : [],
  );
  const troubled = new Set<OutputReader>();
  const ended = new Set<number>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function look(state: HangState): Promise<void> {
    // What's written while we read is the next look's.
    const atMs = nowMs();
    const beats = rules.heartbeatMs !== undefined || rules.firstProgressMs !== undefined;
    const slots = beats ? watching.slots() : undefined;
    const seen = await Promise.all(
      workers.map(async (worker): Promise<Observation> => {
        const { localRank } = worker;
        if (ended.has(localRank)) return { localRank, ended: true };
        const news = await Promise.all(
          (readers[localRank] ?? []).map(each => newsOf(worker, each)),
        );
        const beat = slots === undefined ? undefined : newestBeat(slots, worker, workers);
        return {
          localRank,
          wrote: news.some(({ wrote }) => wrote),
          matches: news.flatMap(({ matches }) => matches),
          isUnknown: news.some(({ unknown }) => unknown !== undefined),
          ...(beat === undefined ? {} : { beat }),
        };
      }),
    );
    if (closed) return;

    const { state: next, verdicts, nextAtMs } = judge(state, seen, atMs);
    if (nextAtMs !== undefined) wakeAt(next, nextAtMs);
    const [first] = verdicts;
    if (first !== undefined) watching.onHang(verdicts, lastMovedMs(next, first.rule));
  }

  async function newsOf(worker: WorkerIdentity, reader: OutputReader): Promise<News> {
    const news = await reader.look(lookMs);
    if (news.unknown === undefined) {
      troubled.delete(reader);
    } else if (!troubled.has(reader) && !closed) {
      troubled.add(reader);
      watching.onTrouble(worker, reader.path, news.unknown);
    }
    return news;
  }

  function wakeAt(state: HangState, atMs: number): void {
    // Node's timers may be early by a part of a millisecond.
    const inMs = Math.max(1, Math.ceil(atMs - nowMs()));
    timer = setTimeout(() => void look(state), inMs);
    timer.unref();
  }

  const first = judge(watchFrom(rules, workers, nowMs()), [], nowMs());
  if (first.nextAtMs !== undefined) wakeAt(first.state, first.nextAtMs);

  return {
    ended: localRank => void ended.add(localRank),
    living: () => workers.filter(({ localRank }) => !ended.has(localRank)),
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
