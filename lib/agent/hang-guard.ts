import type { AgentEvent, WorkerIdentity } from '../events.js';
import type { HangOptions } from '../hang-options.js';
import type { WorkerFiles } from '../logs/layout.js';
import type { NativePlan, NativeStoreSlot, NativeStream } from '../native.js';
import { signalNumber } from '../util/signals.js';
import { type Dump, dumpStacks } from './dump.js';
import type { Hang } from './hang.js';
import { type HangWatch, watchForHangs } from './hang-watch.js';

/** What follows from a hang in one round: it's told, then stacks are written, then the group ends. */

const defaultDumpMs = 10_000;

export type HangGuard = HangWatch;

export function hangGuard(
  options: HangOptions,
  round: {
    readonly workers: readonly WorkerIdentity[];
    readonly plans: readonly NativePlan[];
    readonly files: readonly WorkerFiles[] | undefined;
    readonly path: string | undefined;
    slots(): readonly NativeStoreSlot[];
    nowMs(): number;
    tell(event: AgentEvent): void;
    onHung(hang: Hang): void;
    /** Around what starts children by Node. */
    asGuests<T>(body: () => Promise<T>): Promise<T>;
  },
): HangGuard {
  const { action = 'restart', dumpMs = defaultDumpMs, dumpSignal } = options;
  const number = dumpSignal === undefined ? undefined : signalNumber(dumpSignal);
  let isDumping = false;
  let closed = false;

  async function onHang(hangs: readonly Hang[]): Promise<void> {
    const [first] = hangs;
    if (first === undefined || isDumping) return;
    for (const hang of hangs) round.tell({ event: 'hung', hang, action, atMs: round.nowMs() });
    if (action === 'notify') return;

    isDumping = true;
    const targets = round.workers.map(worker => ({
      worker,
      folder: round.files?.[worker.localRank]?.folder,
      stderr: fileOf(round.plans[worker.localRank]?.stderr),
    }));
    const signal =
      dumpSignal === undefined || number === undefined ? undefined : { name: dumpSignal, number };
    const dump = await round
      .asGuests(() => dumpStacks(targets, { boundMs: dumpMs, signal, path: round.path }))
      .catch((): Dump => ({ files: [], summary: 'unknown' })); // a hang ends without its stacks, too
    isDumping = false;
    if (closed) return;
    round.tell({ event: 'dumped', ...dump, atMs: round.nowMs() });
    if (action === 'restart') round.onHung(first);
  }

  const watch = watchForHangs({
    rules: options,
    workers: round.workers,
    outputs: round.plans.map(({ stdout, stderr }) =>
      [fileOf(stdout), fileOf(stderr)].filter(path => path !== undefined),
    ),
    slots: round.slots,
    nowMs: round.nowMs,
    onHang: hangs => void onHang(hangs),
  });
  return {
    ended: watch.ended,
    close() {
      closed = true;
      watch.close();
    },
  };
}

function fileOf(stream: NativeStream | undefined): string | undefined {
  switch (stream?.to) {
    case 'file':
      return stream.path;
    case 'pipe':
      return stream.file;
    default:
      return undefined;
  }
}
