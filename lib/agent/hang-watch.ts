import { open } from 'node:fs/promises';
import type { WorkerIdentity } from '../events.js';
import { type HangOptions, watchesOutput } from '../hang-options.js';
import type { NativeStoreSlot } from '../native.js';
import { type Hang, type HangState, judge, type Observation, watchFrom } from './hang.js';

/** Looks when `judge` wants it to; nothing wakes up in between, or where no rule is on. */

export interface HangWatch {
  ended(localRank: number): void;
  close(): void;
}

export interface Watching {
  readonly rules: HangOptions;
  readonly workers: readonly WorkerIdentity[];
  /** By local rank: the files that its output goes to. */
  readonly outputs: readonly (readonly string[])[];
  slots(): readonly NativeStoreSlot[];
  nowMs(): number;
  onHang(hangs: readonly Hang[]): void;
}

/** A worker that writes more between two looks is seen by its newest lines. */
const maxLookBytes = 1024 * 1024;

interface Reader {
  readonly path: string;
  /** Where the first line begins that isn't complete yet. */
  lineAt: number;
  size: number;
}

export function watchForHangs(watching: Watching): HangWatch {
  const { rules, workers, nowMs } = watching;
  const pattern = rules.expect === undefined ? undefined : new RegExp(rules.expect.pattern);
  const readers: Reader[][] = watching.outputs.map(paths =>
    paths.map(path => ({ path, lineAt: 0, size: 0 })),
  );
  const ended = new Set<number>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function look(state: HangState): Promise<void> {
    const slots =
      rules.heartbeatMs === undefined && rules.firstProgressMs === undefined
        ? []
        : watching.slots();
    const seen = await Promise.all(
      workers.map(async ({ localRank, pid }): Promise<Observation> => {
        if (ended.has(localRank)) return { localRank, ended: true };
        const news = watchesOutput(rules)
          ? await Promise.all((readers[localRank] ?? []).map(reader => readNews(reader, pattern)))
          : [];
        const slot = slots.find(slot => slot.pid === pid && slot.beats > 0);
        return {
          localRank,
          wrote: news.some(({ wrote }) => wrote),
          matches: news.flatMap(({ matches }) => matches),
          ...(slot === undefined ? {} : { beat: { atMs: slot.beatAtMs, step: slot.step } }),
        };
      }),
    );
    if (closed) return;

    const { state: next, verdicts, nextAtMs } = judge(state, seen, nowMs());
    if (nextAtMs !== undefined) wakeAt(next, nextAtMs);
    if (verdicts.length > 0) watching.onHang(verdicts);
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
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** By size and content, not by times: a file server's clock is not ours. */
async function readNews(
  reader: Reader,
  pattern: RegExp | undefined,
): Promise<{ readonly wrote: boolean; readonly matches: readonly string[] }> {
  const nothing = { wrote: false, matches: [] };
  try {
    await using file = await open(reader.path);
    const { size } = await file.stat();
    if (size === reader.size) return nothing;

    // Somebody has truncated it: what's there now is new.
    if (size < reader.size) reader.lineAt = 0;
    reader.size = size;
    if (pattern === undefined) return { wrote: true, matches: [] };

    const from = Math.max(reader.lineAt, size - maxLookBytes);
    const bytes = Buffer.alloc(size - from);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
    const read = bytes.subarray(0, bytesRead);
    const end = Math.max(read.lastIndexOf('\n'), read.lastIndexOf('\r')) + 1;
    reader.lineAt = from + end;
    const matches = read
      .subarray(0, end)
      .toString('utf8')
      .split(/[\r\n]+/)
      .flatMap(line => {
        const match = pattern.exec(line);
        return match === null ? [] : [match[1] ?? ''];
      });
    return { wrote: true, matches };
  } catch {
    return nothing; // not there yet, or removed by the script: no news
  }
}
