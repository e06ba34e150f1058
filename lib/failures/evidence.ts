import type { NativeTail, NativeUsage } from '../native/events.js';
import type { NativePlan } from '../native/plan.js';
import type { Disk } from '../system/disk.js';
import { readErrorFile } from './error-file.js';
import { isFailed, type Remains, type SeenExit } from './failure.js';
import { type MemoryCounters, type MemoryKills, outOfMemory, outOfOwnMemory } from './oom.js';
import { readTail, type TailSource } from './tail.js';

/** Limit of reading all that one worker has left: a restart waits for a dead disk no longer than this. */
const readMs = 3000;
/** Limit of reading the kernel's counters. */
const memoryMs = 1000;

/** What's known of a worker beside its end. */
export interface Witness {
  /** The worker's error file; absent where logging is off. */
  readonly errorFile?: string;
  readonly plan: Pick<NativePlan, 'stderr' | 'memoryMax' | 'pidsMax'>;
  /** What the pump has kept of its output. */
  readonly tail?: NativeTail;
  /** What the kernel has counted for it. */
  readonly usage?: NativeUsage;
}

/**
 * Reads what failed workers have left, each file once. Files that don't answer in time cost their own part alone.
 *
 * @param from.killsBefore when they had started; absent if that couldn't be read
 * @returns by local rank
 */
export async function gatherRemains(
  exits: readonly SeenExit[],
  witnessOf: (localRank: number) => Witness | undefined,
  from: {
    readonly logs: Disk;
    readonly kernel: Disk;
    readonly memory: MemoryCounters;
    readonly killsBefore: MemoryKills | undefined;
  },
): Promise<ReadonlyMap<number, Remains>> {
  const { logs } = from;
  const failed = exits.filter(isFailed);
  const untilMs = performance.now() + readMs;
  const leftMs = (): number => Math.max(1, untilMs - performance.now());
  const shared = failed.some(mayBeStarved) ? await starvation(from) : undefined;
  const entries = await Promise.all(
    failed.map(async (exit): Promise<[number, Remains]> => {
      const { localRank } = exit.worker;
      const witness = witnessOf(localRank);
      if (witness === undefined) return [localRank, { recorded: { file: { kind: 'absent' } } }];
      const { errorFile } = witness;
      const recorded = await readErrorFile(errorFile, logs, leftMs());
      // What our signal ended without a word has nothing to say of the failure.
      const isEcho = exit.cause === 'stopped-by-us' && recorded.file.kind !== 'read';
      const tail = isEcho ? undefined : await readTail(sourceOf(witness), logs, leftMs());
      const starved = exit.cause === 'own' ? starvedOf(exit, witness, shared) : undefined;
      const crowded = exit.cause === 'own' ? outOfPids(witness) : undefined;
      const remains: Remains = {
        recorded,
        ...(errorFile === undefined ? {} : { errorFile }),
        ...(tail === undefined ? {} : { tail }),
        ...(starved === undefined ? {} : { outOfMemory: starved }),
        ...(crowded === undefined ? {} : { outOfPids: crowded }),
      };
      return [localRank, remains];
    }),
  );
  return new Map(entries);
}

function sourceOf({ plan, tail }: Witness): TailSource {
  if (plan.stderr.to === 'file') return { path: plan.stderr.path };
  return tail?.stderr === undefined ? {} : { bytes: tail.stderr };
}

/** Whether the kernel may have killed a worker, and not somebody for reasons of their own. */
function mayBeStarved({ exit, cause }: SeenExit): boolean {
  return cause === 'own' && exit.how === 'signaled' && exit.signal === 'SIGKILL';
}

/** Sentence that the kernel has killed somebody since the workers had started. */
async function starvation({
  kernel,
  memory,
  killsBefore,
}: Parameters<typeof gatherRemains>[2]): Promise<string | undefined> {
  if (killsBefore === undefined) return undefined;
  return kernel.run(memoryMs, memory.state).then(
    after => outOfMemory(killsBefore, after),
    () => undefined, // the kernel doesn't tell
  );
}

function starvedOf(
  exit: SeenExit,
  { usage, plan }: Witness,
  shared: string | undefined,
): string | undefined {
  // Its loader may have been killed, and it may have failed of that.
  const own = usage && plan.memoryMax ? outOfOwnMemory(usage, plan.memoryMax) : undefined;
  return own ?? (mayBeStarved(exit) ? shared : undefined);
}

function outOfPids({ usage, plan }: Witness): string | undefined {
  const refused = usage?.pidsRefused ?? 0;
  if (refused === 0 || plan.pidsMax === undefined) return undefined;
  const times = refused === 1 ? 'once' : `${refused} times`;
  return `its limit of ${plan.pidsMax} processes and threads was in the way ${times}`;
}
