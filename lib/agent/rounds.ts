import type { WorkerFailure, WorkerIdentity } from '../events.js';
import { describeFailures, type GroupEnd } from '../failures/describe.js';
import { gatherRemains, type Witness } from '../failures/evidence.js';
import { type MemoryKills, memoryCounters } from '../failures/oom.js';
import { tailBytes } from '../failures/tail.js';
import type { HangGuard } from '../hangs/guard.js';
import {
  attemptFiles,
  createAttempt,
  createRunFolder,
  plannedRunFolder,
  type RunFolder,
  removeAttempt,
  removeTempBase,
  type WorkerFiles,
} from '../logs/layout.js';
import type { NativeTail, NativeUsage } from '../native/events.js';
import type { NativeGroupPlan } from '../native/plan.js';
import type { NativeStop } from '../native/supervisor.js';
import type { Placing } from '../placement/placing.js';
import type { Place, RoundPlan } from '../rendezvous/rendezvous.js';
import { createDisk, type Disk } from '../system/disk.js';
import { hostname, qualifiedHostname } from '../system/hostname.js';
import { atMost } from '../util/deferred.js';
import { disabledFeatures } from '../util/features.js';
import { randomName } from '../util/random.js';
import { type Job, roundOf, workerPlans } from '../workers/job.js';
import { openReturnGate, type ReturnGate } from '../workers/return-gate.js';
import { tidyUpOf } from '../workers/tidy-up.js';
import type { Core } from './core.js';

/** Wait for whoever holds a pipe of a dead worker. Our own strays are killed before; this bounds strangers. */
const drainMs = 1000;
const memoryMs = 1000;
/** Wait for what is still being made when a run ends. */
const closeMs = 1000;

/** What's kept of a round until the next one starts. */
export interface RoundRecord {
  /** Failures of the job until then. */
  readonly restartCount: number;
  readonly place: Place;
  readonly files: readonly WorkerFiles[] | undefined;
  readonly masterAddr: string;
  readonly masterPort: number;
  /** Its number is the round's, or that of the standbys that have become its workers. */
  plan: NativeGroupPlan;
  /** While standbys are becoming its workers: what it starts with if they can't. */
  cold?: NativeGroupPlan | undefined;
  /** The last stop that was ordered. */
  stop?: NativeStop;
  hangs?: HangGuard;
  /** Aborted when its workers have been waited for: their pids may be anybody's from then on. */
  readonly over: AbortController;
  workers: readonly WorkerIdentity[];
  /** When they had started, or a little later. */
  killsBefore?: MemoryKills;
  /** What workers with limits of a cgroup had used when they ended, by local rank. */
  readonly usage: Map<number, NativeUsage>;
  tails: readonly NativeTail[];
  readonly gate: ReturnGate | undefined;
  /** The root cause's error file as it was read, for whoever started this launcher. */
  errorText?: string;
}

/** A run's rounds: what each is made of, and what has come of it. */
export interface Rounds {
  /** The record of a round that's prepared, or of the last one that has started. */
  get(round: number): RoundRecord | undefined;
  /** The round whose workers are this group of the core's. */
  ofGroup(group: number): readonly [round: number, record: RoundRecord] | undefined;
  all(): Iterable<RoundRecord>;
  /**
   * Makes folders, the store's table and plans.
   *
   * @throws ERR_LOG_DIR, ERR_PORT, ERR_VISIBLE_DEVICES, ERR_NATIVE_MISSING
   */
  prepare(plan: RoundPlan): Promise<void>;
  /**
   * The first round's plan, as far as it's known before the round is formed: ranks, addresses, the port and files are guessed.
   *
   * @throws ERR_VISIBLE_DEVICES
   */
  expected(): NativeGroupPlan;
  /** A round that won't start, also if it's being prepared still: nothing is left of it. */
  discard(plan: RoundPlan): void;
  /** Gives the record of a prepared round that starts now; those before are forgotten. */
  begin(round: number): RoundRecord;
  /** Notes the workers of a round once they have exec'd. */
  started(record: RoundRecord, workers: readonly WorkerIdentity[]): void;
  /** The one description of a round's failures, the root cause first; empty where there are none. */
  describe(round: number, end: GroupEnd): Promise<WorkerFailure[]>;
  /** The disk of the log folders. */
  readonly disk: Disk;
  /** The run's folder; absent before it's made, and where logging is off. */
  runFolder(): string | undefined;
  /** The same, made if it isn't there yet. @throws ERR_LOG_DIR */
  makeRunFolder(): Promise<string | undefined>;
  /** Resolves when the folders of discarded rounds are gone, and the temp folder if that isn't to be kept. */
  close(keepTemp: boolean): Promise<void>;
}

/** What rounds need of the agent. */
export interface RoundSurroundings {
  readonly tables: {
    /** @throws as `startCore` and `openTable` */
    open(round: number): ReturnType<Core['openTable']>;
    /** Where another node serves the store. */
    openLocal(round: number): ReturnType<Core['openLocalTable']>;
    close(round: number): void;
  };
  /** Where workers run. It's known before the first round. */
  placing(): Placing;
  nowMs(): number;
}

export function createRounds(job: Job, { tables, placing, nowMs }: RoundSurroundings): Rounds {
  const records = new Map<number, RoundRecord>();
  const discarded = new Set<number>();
  const attempts = new Map<number, Promise<void>>();
  const removals: Promise<void>[] = [];
  const logs = createDisk();
  // The kernel's counters may wait for locks that anybody holds.
  const kernel = createDisk(1);
  const memory = memoryCounters();
  let making: Promise<RunFolder | undefined> | undefined;
  let made: RunFolder | undefined;

  async function folderOfRun(): Promise<RunFolder | undefined> {
    making ??= createRunFolder(job.logs, job.runId, logs);
    made = await making;
    return made;
  }

  async function prepare(roundPlan: RoundPlan): Promise<void> {
    const { round, restartCount, place, master } = roundPlan;
    // Before the folders: without a descriptor left nobody could remove them.
    const { port, local } =
      master === undefined || master.isOurs ? tables.open(round) : tables.openLocal(round);
    const masterAddr = master?.host ?? job.settings.masterAddr;
    const masterPort = master?.port ?? port;
    const folder = await folderOfRun();
    const files =
      folder === undefined
        ? undefined
        : attemptFiles(folder.path, restartCount, job.localWorldSize);
    if (discarded.has(round)) return;
    const attempt =
      folder === undefined || files === undefined
        ? Promise.resolve()
        : createAttempt(folder.path, restartCount, files, logs);
    attempt.catch(() => {}); // as above
    attempts.set(restartCount, attempt);
    const gate = await gateOf(round);
    const plan = planOf({ ...roundPlan, masterAddr, masterPort, local, gate }, files);
    await attempt;
    if (discarded.has(round)) return gate?.close();
    const over = new AbortController();
    const nothingYet = { workers: [], usage: new Map(), tails: [], over };
    records.set(round, {
      restartCount,
      place,
      files,
      masterAddr,
      masterPort,
      plan,
      gate,
      ...nothingYet,
    });
  }

  function planOf(
    roundPlan: Omit<Parameters<typeof roundOf>[1], 'cookie'>,
    files: readonly WorkerFiles[] | undefined,
  ): NativeGroupPlan {
    const cookie = randomName(24);
    const numbers = roundOf(job, { ...roundPlan, cookie });
    const plans = workerPlans(job, numbers, { placing: placing(), files, hostname });
    const tidyUp = tidyUpOf(job.settings);
    return { group: roundPlan.round, cookie, plans, tailBytes, drainMs, tidyUp };
  }

  /** Functions wait for each other. Without a socket they don't, and that's all. */
  async function gateOf(round: number): Promise<ReturnGate | undefined> {
    if (!job.command.isFunction || job.localWorldSize < 2) return undefined;
    const onReturned = (localRank: number): void => records.get(round)?.hangs?.ended(localRank);
    return openReturnGate(job.localWorldSize, onReturned).catch(() => undefined);
  }

  async function removeWhenMade(restartCount: number): Promise<void> {
    const folder = await making?.catch(() => undefined);
    await attempts.get(restartCount)?.catch(() => {});
    // Nothing ran there; an attempt that's never been made shouldn't look like one.
    if (folder !== undefined) await removeAttempt(folder.path, restartCount, logs);
  }

  return {
    get: round => records.get(round),
    ofGroup: group => [...records].find(([, { plan }]) => plan.group === group),
    all: () => records.values(),
    prepare,
    expected() {
      const { settings, localWorldSize } = job;
      const { maxNodes, nodeRank = 0, masterAddr } = settings;
      const folder = plannedRunFolder(job.logs, job.runId);
      const place = {
        groupRank: nodeRank,
        groupWorldSize: maxNodes,
        firstRank: nodeRank * localWorldSize,
        worldSize: maxNodes * localWorldSize,
      };
      const guessed = { round: 0, restartCount: 0, place, masterAddr, masterPort: 0 };
      const files = folder === undefined ? undefined : attemptFiles(folder, 0, localWorldSize);
      const isShared = !(settings.disable ?? disabledFeatures()).includes('shared-memory');
      return planOf({ ...guessed, local: isShared ? '' : undefined }, files);
    },
    discard({ round, restartCount }) {
      discarded.add(round);
      tables.close(round);
      records.get(round)?.gate?.close();
      records.delete(round);
      removals.push(removeWhenMade(restartCount));
    },
    begin(round) {
      for (const known of records.keys()) if (known < round) records.delete(known);
      const record = records.get(round);
      if (record === undefined) throw new Error(`round ${round} isn't prepared`);
      return record;
    },
    started(record, workers) {
      record.workers = workers;
      kernel.run(memoryMs, memory.kills).then(
        kills => {
          record.killsBefore = kills;
        },
        () => {}, // then nothing tells a SIGKILL of the kernel's from anybody's
      );
    },
    async describe(round, end) {
      const record = records.get(round);
      if (record === undefined) return [];
      const around = { host: qualifiedHostname(), unixAheadMs: Date.now() - nowMs() };
      const sources = { logs, kernel, memory, killsBefore: record.killsBefore };
      const remains = await gatherRemains(end.exits, rank => witnessOf(record, rank), sources);
      const failures = describeFailures(end, localRank => remains.get(localRank), around);
      const [root] = failures;
      const text = root === undefined ? undefined : remains.get(root.localRank)?.recorded.text;
      if (text !== undefined) record.errorText = text;
      return failures;
    },
    disk: logs,
    runFolder: () => made?.path,
    makeRunFolder: async () => (await folderOfRun())?.path,
    async close(keepTemp) {
      for (const { gate } of records.values()) gate?.close();
      // A dead disk may make folders some day, and a run's end doesn't wait for it.
      if (removals.length > 0) await atMost(closeMs, Promise.all(removals));
      if (made !== undefined && !keepTemp) await removeTempBase(made, logs);
    },
  };
}

function witnessOf(record: RoundRecord, localRank: number): Witness | undefined {
  const plan = record.plan.plans[localRank];
  if (plan === undefined) return undefined;
  const errorFile = record.files?.[localRank]?.errorFile;
  const tail = record.tails.find(({ index }) => index === localRank);
  const usage = record.usage.get(localRank);
  return {
    plan,
    ...(errorFile === undefined ? {} : { errorFile }),
    ...(tail === undefined ? {} : { tail }),
    ...(usage === undefined ? {} : { usage }),
  };
}
