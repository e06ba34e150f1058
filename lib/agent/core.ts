import { onMachine } from '../errors.js';
import type { Measures } from '../events/recorder.js';
import { type Console, openConsole } from '../logs/console.js';
import { guardianProgram, native } from '../native/addon.js';
import type { NativeEvent } from '../native/events.js';
import type { NativeLeaseOptions } from '../native/lease.js';
import type {
  NativeStore,
  NativeStoreAddress,
  NativeStoreReport,
  NativeStoreSlot,
  NativeStoreStats,
} from '../native/store.js';
import type { NativeSupervisor } from '../native/supervisor.js';
import { preloadsOf } from '../preload/libraries.js';
import type { KeeperEvent } from '../rendezvous/membership.js';
import type { Hosts } from '../store/master-hosts.js';
import { borrowTable, createStore, freePort, openTable } from '../store/open-table.js';
import { disabledFeatures } from '../util/features.js';
import type { Job } from '../workers/job.js';

/** How long a killing blocks the agent, which has nothing else to do by then. */
export const killAtOnceMs = 1000;
/** How long the end of a run waits for a console that takes nothing of what workers have printed. */
const consolePatienceMs = 5000;

/** Between two words of this thread that it's well, for whoever renews a lease meanwhile. */
const beatMs = 1000;

/** Descriptors that no client of the store gets: for the agent's next round, and for each of its workers. */
const keptDescriptors = { agent: 64, worker: 16 } as const;

/** What workers find at their master address. */
export interface MasterStore {
  readonly port: number;
  /** The Unix socket that gives shared memory, if it's offered. */
  readonly local?: string;
}

/** The addon's threads, for one run, and the store's table of each round. */
export interface Core {
  readonly supervisor: NativeSupervisor;
  /**
   * The store of a round. A fixed port's table is opened once, and serves every round. Where rank 0 serves it, its
   * port is chosen and left free.
   *
   * @param isShared whether it's at the port that `serve` has opened. @default false
   * @throws ERR_PORT
   */
  openTable(round: number, isShared?: boolean): MasterStore;
  /** The store of a round, at one port for all rounds: others may keep where it was. @throws ERR_PORT */
  openKeptTable(round: number): MasterStore;
  /** The table of a round that another node serves: for heartbeats and notices only. */
  openLocalTable(round: number): MasterStore;
  /** Serves what the agents of a job share. @throws ERR_PORT */
  serve(port: number): void;
  /** Connections at that port, and what has come over them; none where it isn't served here. */
  visitors(): Pick<NativeStoreStats, 'clients' | 'bytesIn'>;
  /** Workers run no longer than that, by the clock of `bootMs`; absent: as long as they like. */
  setFence(atMs: number | undefined): void;
  /** The same, where that's later than they may anyhow, and their time isn't over. */
  postponeFence(atMs: number): void;
  /**
   * Renews a lease at our own server, and moves the fence with each confirmed renewal, whatever this thread does.
   *
   * @param told once at most. It's lost, too, if it was given up since this thread stood still for `agentStallMs`
   */
  keepLease(
    options: Omit<NativeLeaseOptions, 'stallMs'>,
    told: (what: KeeperEvent) => void,
  ): { close(): void };
  /** Empties a table that an earlier round has used; its workers must be gone. */
  refreshTable(round: number): void;
  /** The round that has a table of the store; undefined: none has it any more. */
  roundOf(table: number): number | undefined;
  /** The highest step that a worker has told by its slot; 0 if none did. */
  highestStep(round: number): number;
  closeTable(round: number): void;
  /** What a recorder asks for. */
  measure(): Measures;
  /** The word that a round's clients at shared memory see. */
  setNotice(round: number, notice: number): void;
  /** What the round's workers have told by shared memory. */
  slots(round: number): readonly NativeStoreSlot[];
  /** Reports workers that wait for a store which nobody serves. None: nobody is looked after. */
  watchRefusals(pids: readonly number[]): void;
  /** Waits until consoles have the output of workers that are gone, or don't take it; absent: they have it. */
  outputShown(): Promise<unknown> | undefined;
  /** Ends that wait, and another one for the others at that port. */
  hurry(): void;
  isHurried(): boolean;
  /** Resolves when this process is where it was before: limits may have moved it into another cgroup. */
  close(): Promise<void>;
}

/**
 * @param hosts where the store is served
 * @throws ERR_NATIVE_MISSING, ERR_MACHINE
 */
export function startCore(
  job: Pick<Job, 'settings' | 'localWorldSize' | 'agentStore'>,
  hosts: Hosts,
  onEvents: (events: readonly NativeEvent[]) => void,
  onStoreReport: (report: NativeStoreReport) => void,
): Core {
  const { settings } = job;
  const addon = native();
  const disable = settings.disable ?? disabledFeatures();
  const guardian = disable.includes('guardian') ? {} : { guardian: guardianProgram() };
  const preloads = preloadsOf(settings.entrypoint, disable);
  const supervisor = onMachine("can't start the supervisor", () =>
    addon.createSupervisor({ disable, ...guardian, ...preloads }, onEvents),
  );
  const tables = new Map<number, NativeStoreAddress>();
  const { masterAddr, masterPort, portRange } = settings;
  const port = masterPort === 0 && portRange !== undefined ? portRange : masterPort;
  const isFixed = job.agentStore && masterPort !== 0 && settings.maxNodes === 1;
  const sharedMemory = !disable.includes('shared-memory');
  const token = settings.token === undefined ? {} : { token: settings.token };
  let store: NativeStore | undefined;
  /** Where agents meet, if we serve it. */
  let meeting: NativeStoreAddress | undefined;
  /** Has the port of all rounds, where they have one. */
  let kept: NativeStoreAddress | undefined;
  /** The last round that has started; absent: none has. */
  let latest: number | undefined;
  let console: Console | undefined;
  let leaseAgeMs = (): number | undefined => undefined;
  let isHurried = false;
  killAtExit(supervisor);

  function startStore(): NativeStore {
    const kept = keptDescriptors.agent + keptDescriptors.worker * job.localWorldSize;
    store ??= createStore({ disable, sharedMemory, keptDescriptors: kept }, onStoreReport);
    return store;
  }

  /** Where rank 0 serves the store, ours is for heartbeats and notices only. */
  function openLocalTable(round: number): MasterStore {
    if (!sharedMemory) return { port: 0 };
    const table = tables.get(round) ?? startStore().openTable({ hosts: [], port: 0 });
    tables.set(round, table);
    return table;
  }

  return {
    supervisor,
    openTable(round, isShared = false) {
      if (!job.agentStore) {
        return { ...openLocalTable(round), port: freePort(masterAddr, port) };
      }
      const key = isFixed ? 0 : round;
      const lender = isShared ? meeting : undefined;
      const open = () =>
        lender === undefined
          ? openTable(startStore(), hosts, masterAddr, port)
          : borrowTable(startStore(), lender);
      const table = tables.get(key) ?? open();
      tables.set(key, table);
      return table;
    },
    openKeptTable(round) {
      kept ??= openTable(startStore(), hosts, masterAddr, port);
      const table = tables.get(round) ?? borrowTable(startStore(), kept);
      tables.set(round, table);
      return table;
    },
    openLocalTable,
    serve(port) {
      // Else whoever has no token may keep connections and fill the store, which no agent uses there. Workers of a static job do.
      const isAgentsOnly = settings.token !== undefined && settings.rdzvBackend !== 'static';
      const serves = settings.amongTorchrun
        ? {}
        : { coordination: true, ...token, exclusive: isAgentsOnly };
      meeting = openTable(startStore(), hosts, settings.rdzvEndpoint ?? '', port, serves);
    },
    visitors: () =>
      store === undefined || meeting === undefined
        ? { clients: 0, bytesIn: 0 }
        : store.stats(meeting.table),
    setFence: atMs => supervisor.setFence(atMs),
    postponeFence: atMs => supervisor.postponeFence(atMs),
    keepLease(options, told) {
      const stallMs = settings.agentStallMs;
      const kept = addon.keepLease({ ...options, ...token, stallMs }, supervisor, ({ event }) =>
        told(event === 'stalled' ? 'lost' : event),
      );
      const beats = setInterval(() => kept.beat(), beatMs);
      const confirmedForMs = options.ttlMs - options.marginMs;
      leaseAgeMs = () => {
        const fenceMs = kept.fenceMs();
        return fenceMs === undefined ? undefined : addon.boottimeMs() + confirmedForMs - fenceMs;
      };
      return {
        close() {
          clearInterval(beats);
          leaseAgeMs = () => undefined;
          kept.close();
        },
      };
    },
    refreshTable(round) {
      const table = isFixed && latest !== undefined ? tables.get(0) : undefined;
      if (table !== undefined) store?.resetTable(table.table);
      latest = round;
    },
    roundOf(table) {
      const [round] = [...tables].find(([, opened]) => opened.table === table) ?? [];
      return isFixed && round !== undefined ? latest : round;
    },
    highestStep(round) {
      const table = tables.get(isFixed ? 0 : round);
      // Not from the slots themselves: they're gone with their workers.
      return table === undefined ? 0 : (store?.stats(table.table).highestStep ?? 0);
    },
    closeTable(round) {
      const table = isFixed ? undefined : tables.get(round);
      if (table === undefined) return;
      tables.delete(round);
      store?.closeTable(table.table);
    },
    measure() {
      const table = latest === undefined ? undefined : tables.get(isFixed ? 0 : latest);
      return {
        store: table === undefined ? undefined : store?.stats(table.table),
        leaseAgeMs: leaseAgeMs(),
        slots: table === undefined ? undefined : store?.slots(table.table),
      };
    },
    setNotice(round, notice) {
      const table = tables.get(isFixed ? 0 : round);
      if (table !== undefined) store?.setNotice(table.table, notice);
    },
    slots(round) {
      const table = tables.get(isFixed ? 0 : round);
      return table === undefined ? [] : (store?.slots(table.table) ?? []);
    },
    watchRefusals: pids => store?.watchRefusals(pids),
    outputShown() {
      console ??= openConsole();
      return console.flush({ linesMs: consolePatienceMs, wordsMs: 0 });
    },
    hurry() {
      isHurried = true;
      console?.hurry();
    },
    isHurried: () => isHurried,
    close() {
      console?.close();
      // At once, so that whoever launches next may have the port.
      store?.close();
      dontKillAtExit(supervisor);
      // We may be within a call from its thread.
      return new Promise(done =>
        setImmediate(() => {
          supervisor.close();
          done();
        }),
      );
    },
  };
}

// One listener for all runs: ten runs in one process are no leak that Node should warn of.
const supervisors = new Set<NativeSupervisor>();

function killAtExit(supervisor: NativeSupervisor): void {
  if (supervisors.size === 0) process.on('exit', killAll);
  supervisors.add(supervisor);
}

function dontKillAtExit(supervisor: NativeSupervisor): void {
  supervisors.delete(supervisor);
  if (supervisors.size === 0) process.off('exit', killAll);
}

/** Reaps what has ended, for process 1 whose only children are one run's workers and orphans. */
export function reapOrphans(): void {
  for (const supervisor of supervisors) supervisor.reapOrphans();
}

/** process.exit() in the middle of a run: the addon's cleanup hooks don't run then. */
function killAll(): void {
  for (const supervisor of supervisors) supervisor.killAll(killAtOnceMs);
}
