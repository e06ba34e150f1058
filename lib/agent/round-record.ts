import { readFileSync } from 'node:fs';
import type { WorkerIdentity } from '../events.js';
import type { WorkerFiles } from '../logs/layout.js';
import type { NativeGroupPlan, NativeTail, NativeUsage } from '../native.js';
import { qualifiedHostname } from '../util/hostname.js';
import { describeFailure, rootCauseOf, type WorkerFailure } from './failures.js';
import type { HangGuard } from './hang-guard.js';
import { type MemoryState, memoryState, outOfMemory, outOfOwnMemory } from './oom.js';
import { readErrorFile, tailOf } from './remains.js';
import type { Exit } from './state.js';

/** What's kept of a round until its failures have been described. */
export interface RoundRecord {
  readonly files: readonly WorkerFiles[] | undefined;
  readonly masterPort: number;
  readonly plan: NativeGroupPlan;
  hangs?: HangGuard;
  workers: readonly WorkerIdentity[];
  /** When they had started. */
  memory?: MemoryState;
  /** By local rank: of workers with limits of a cgroup, when they had ended. */
  readonly usage: Map<number, NativeUsage>;
  tails: readonly NativeTail[];
}

/** The failures among a round's exits, in their order. */
export function describeExits(
  record: RoundRecord | undefined,
  exits: readonly Exit[],
  nowMs: number,
): WorkerFailure[] {
  const host = qualifiedHostname();
  const unixMinusMonotonicMs = Date.now() - nowMs;
  return exits
    .filter(({ exit, cause }) => cause === 'hang' || exit.how !== 'exited' || exit.code !== 0)
    .map(exit => {
      const { localRank } = exit.worker;
      const errorFile = record?.files?.[localRank]?.errorFile;
      const stderr = record?.plan.plans[localRank]?.stderr;
      const tail = record?.tails.find(({ index }) => index === localRank);
      return describeFailure(
        { ...exit, seenAtUnixMs: exit.atMs + unixMinusMonotonicMs },
        {
          file: readErrorFile(errorFile),
          errorFile,
          host,
          tail: exit.cause !== 'stopped-by-us' ? tailOf(stderr, tail) : undefined,
          outOfMemory: starvedOf(exit, record),
          outOfPids: outOfPids(exit, record),
        },
      );
    });
}

/** Rules are about the worker that the report will name, and about what it left. */
export function rootCauseForRules(
  record: RoundRecord,
  exits: readonly Exit[],
  nowMs: number,
): { rootCause?: { localRank: number; words: string } } {
  const failure = rootCauseOf(describeExits(record, exits, nowMs));
  if (failure === undefined) return {};
  const { files, plan, tails } = record;

  const { localRank } = failure;
  const file = readErrorFile(files?.[localRank]?.errorFile);
  const stderr = plan.plans[localRank]?.stderr;
  const tail = tailOf(
    stderr,
    tails.find(({ index }) => index === localRank),
  );
  // Not the failure's own message: without an error file it's ours, and "error" is in it.
  const words = [file.kind === 'read' ? file.message : '', tail ?? ''].join('\n');
  return { rootCause: { localRank, words } };
}

/** Whether the kernel killed it for lack of memory, and not somebody for reasons of their own. */
function starvedOf(
  { worker: { localRank }, exit, cause }: Exit,
  record: RoundRecord | undefined,
): string | undefined {
  if (cause !== 'own') return undefined;
  const own = record?.usage.get(localRank);
  const limitBytes = record?.plan.plans[localRank]?.memoryMax;
  // Its loader may have been killed, and it may have failed of that.
  const starved = own && limitBytes ? outOfOwnMemory(own, limitBytes) : undefined;
  if (starved !== undefined) return starved;
  if (exit.how !== 'signaled' || exit.signal !== 'SIGKILL') return undefined;
  const before = record?.memory;
  return before === undefined ? undefined : outOfMemory(before, memoryState(readText));
}

function outOfPids(
  { worker: { localRank }, cause }: Exit,
  record: RoundRecord | undefined,
): string | undefined {
  const refused = record?.usage.get(localRank)?.pidsRefused ?? 0;
  const limit = record?.plan.plans[localRank]?.pidsMax;
  if (cause !== 'own' || refused === 0 || limit === undefined) return undefined;
  const times = refused === 1 ? 'once' : `${refused} times`;
  return `its limit of ${limit} processes and threads was in the way ${times}`;
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Not there, or not for us: then it tells nothing.
    return undefined;
  }
}
