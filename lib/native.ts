import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchError, onMachine } from './errors.js';
import { adviceFor } from './util/errno.js';

/**
 * The addon, loaded and typed. Nobody else imports it.
 *
 * The types below are the contract with native/addon: it checks their shapes again, since an
 * addon must not crash on any argument, and throws a TypeError for what doesn't fit.
 */

/** Where one stream (stdout or stderr) of one worker goes. */
export type NativeStream =
  /** Our own descriptor, untouched: a terminal stays a terminal. */
  | { readonly to: 'inherit' }
  | { readonly to: 'null' }
  /** Straight into the file (created, appended to): costs nothing and survives the agent. */
  | { readonly to: 'file'; readonly path: string }
  /** Through the pump. */
  | {
      readonly to: 'pipe';
      /** Gets every byte, as it was written. A file that stands still makes its own worker wait, and nobody else. */
      readonly file?: string;
      /** Gets whole lines, each behind `prefix`; 1 is our stdout, 2 our stderr. */
      readonly console?: 1 | 2;
      readonly prefix?: string;
      /** Lines that contain one of these are also appended, behind `prefix`, to `filteredFile`. */
      readonly filters?: readonly string[];
      readonly filteredFile?: string;
    };

/** All that one worker needs. */
export interface NativePlan {
  /** A path, or a name that's looked up along PATH of `env` as execvp does. */
  readonly file: string;
  /** argv[0] included. */
  readonly argv: readonly string[];
  /** `NAME=value`, the worker's whole environment. */
  readonly env: readonly string[];
  readonly cwd?: string;
  /**
   * Soft limit of open files. One above ours changes nothing. Without it the worker gets ours, as it
   * was before `raiseNofile`, or before Node raised it where `startedWith` was told.
   */
  readonly nofileSoft?: number;
  /** The only CPUs that it may run on. Those that it may not have are cut off; EINVAL if none is left. */
  readonly cpus?: readonly number[];
  readonly memoryPolicy?: NativeMemoryPolicy;
  /** `cpus` that the kernel refuses are told by `started`, which comes all the same. */
  readonly optionalCpus?: boolean;
  /** The same for `memoryPolicy`. */
  readonly optionalMemoryPolicy?: boolean;
  /** In this order, after `nofileSoft`. */
  readonly rlimits?: readonly NativeRlimit[];
  /** -20 to 19. */
  readonly nice?: number;
  /** Class << 13 | level, of ioprio_set(2). */
  readonly ioPriority?: number;
  /** -1000 to 1000. */
  readonly oomScoreAdj?: number;
  readonly umask?: number;
  /** Bytes, from 1, of the worker and all that it starts: beyond, it's slowed down. Cgroups of version 2 only. */
  readonly memoryHigh?: number;
  /** The same: beyond, it's killed. */
  readonly memoryMax?: number;
  /** Processes and threads, from 1, of the worker and all that it starts. */
  readonly pidsMax?: number;
  /** CPU time in each 100 ms, in microseconds from 1000, of the worker and all that it starts. */
  readonly cpuQuotaUs?: number;
  readonly stdin: 'inherit' | 'null';
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
}

/** What Node has changed of this process at its start. */
export interface NativeStart {
  /** Signals that were ignored, by number. */
  readonly ignoredSignals: readonly number[];
  readonly blockedSignals: readonly number[];
  /** Of open files; absent: it isn't known, or there was no limit. */
  readonly nofileSoft?: number;
}

/** What's absent stays as it is; but a soft limit isn't left above the hard one. */
export interface NativeRlimit {
  /** As prlimit(1) spells it: `nofile`. */
  readonly name: string;
  readonly soft?: number | 'unlimited';
  readonly hard?: number | 'unlimited';
}

/** Where the kernel takes a worker's memory from. set_mempolicy(2) tells the modes. */
export interface NativeMemoryPolicy {
  readonly mode: 'bind' | 'preferred' | 'interleave' | 'local';
  /**
   * None for `local`, and at least one else. `preferred`: before Linux 5.15, which can prefer
   * several, the first alone.
   */
  readonly nodes: readonly number[];
}

export interface NativeGroupPlan {
  /** Names the group in events; unique while the supervisor lives. */
  readonly group: number;
  /**
   * In `env` of every plan too, as `REGROUP_COOKIE=<cookie>`: what's left of the group, wherever
   * it hides, is found by it.
   */
  readonly cookie: string;
  readonly plans: readonly NativePlan[];
  /** Bytes kept of the end of each piped stream, for the failure report. */
  readonly tailBytes: number;
  /** How long a pipe that somebody still holds is read after its worker's end. */
  readonly drainMs: number;
  readonly tidyUp: NativeTidyUp;
}

/** What may be done with those whom workers leave behind. */
export interface NativeTidyUp {
  /** From the last worker's end to SIGKILL, where not all have ended well. */
  readonly graceMs: number;
  /** Whoever is in a session of its own, and holds no GPU, lives on. */
  readonly leaveDetached: boolean;
  /**
   * Programs that need seconds to end by themselves, and hold nothing that another round needs: they have ten
   * seconds, and nobody waits for them.
   */
  readonly lingering: readonly string[];
  /** Folder of GPUs' device files, without links in its path: who's left alone holds none of these. */
  readonly devices: string;
}

export interface NativeStop {
  readonly signal: number;
  /** `leader`: the worker itself; `group`: its whole process group. */
  readonly target: 'leader' | 'group';
  /** From now to SIGKILL. 0 kills at once. */
  readonly graceMs: number;
  /** From SIGKILL to giving up on processes that are stuck in the kernel. */
  readonly killWaitMs: number;
}

export type NativeExit =
  | { readonly how: 'exited'; readonly code: number }
  | { readonly how: 'signaled'; readonly signal: number; readonly coreDumped: boolean }
  /** Somebody else in this process took the status (waitpid(-1), SIGCHLD ignored). */
  | { readonly how: 'unknown' };

/** The child-side step that failed; `plan` are those decided before the spawn. */
export type NativeStep =
  | 'resolve'
  | 'output'
  | 'spawn'
  | 'session'
  | 'parent-death'
  /** A limit that a cgroup has to keep: `memoryHigh`, `memoryMax`, `pidsMax`, `cpuQuotaUs`. */
  | 'cgroup'
  | 'affinity'
  | 'memory'
  | 'stdio'
  | 'umask'
  | 'nice'
  | 'ionice'
  | 'oom-score-adj'
  | 'rlimits'
  | 'cwd'
  | 'signals'
  | 'exec'
  /** SIGKILLed before execve, without a word: the OOM killer, or a killed cgroup. */
  | 'killed-before-exec';

/** A worker whose CPUs or memory policy the kernel refused. */
export interface NativeUnbound {
  readonly index: number;
  readonly step: 'affinity' | 'memory';
  readonly syscall: string;
  readonly errno: number;
}

/**
 * What the kernel has counted for a worker and all that it started; for those with limits of a cgroup that haven't
 * ended well.
 */
export interface NativeUsage {
  /** Its processes that were killed for lack of memory, its own or everybody's. */
  readonly oomKills: number;
  /** Processes and threads that `pidsMax` has refused. */
  readonly pidsRefused: number;
  /** The most memory that it ever had. Absent without a limit of memory, and before Linux 5.19. */
  readonly peakBytes?: number;
  /** Share of the last ten seconds in which some of it waited for memory, in percent. */
  readonly pressure?: number;
}

/** A worker that SIGKILL didn't end within `killWaitMs`. */
export interface NativeStuck {
  readonly index: number;
  readonly pid: number;
  /** One letter of /proc/PID/status, e.g. `D`. */
  readonly state: string;
}

export interface NativeProcess {
  readonly pid: number;
  /** /proc/PID/comm, 15 bytes at most; empty where it can't be read. */
  readonly command: string;
}

export interface NativeTail {
  readonly index: number;
  /** The last bytes of a piped stream; absent where the stream wasn't piped. */
  readonly stdout?: Buffer;
  readonly stderr?: Buffer;
}

/** `atMs`: CLOCK_MONOTONIC in milliseconds, with fractions, as performance-critical code sees it. */
export type NativeEvent =
  /** Every worker has exec'd. `pids[i]` and `startedAtMs[i]` belong to `plans[i]`. */
  | {
      readonly event: 'started';
      readonly group: number;
      readonly atMs: number;
      readonly pids: readonly number[];
      readonly startedAtMs: readonly number[];
      /** Workers that run without a binding, since it was optional. */
      readonly unbound: readonly NativeUnbound[];
    }
  /** None is left. `detail` is the path, or the resource limit, that the step was about, if any. */
  | {
      readonly event: 'start-failed';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly step: NativeStep;
      readonly syscall: string;
      readonly errno: number;
      readonly detail: string;
    }
  /**
   * The start of a worker holds up the supervisor, a stop wasn't heard in its time, and SIGKILL to the child hasn't
   * helped. The last event of all: the supervisor can only be closed, which doesn't wait for it.
   */
  | {
      readonly event: 'start-hangs';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly step: NativeStep;
      /** The file that the step is about. */
      readonly detail: string;
      /** Of the child that's stuck in the kernel; 0: there's none. */
      readonly pid: number;
    }
  /**
   * A worker is ending with a failure: it won't run its own code again, but its memory is still being
   * freed, and its pid is still its own. `exited` follows, with the same exit. At most once a worker,
   * and many end without: see `earlyLibrary`.
   */
  | {
      readonly event: 'dying';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly pid: number;
      readonly exit: NativeExit;
    }
  /** A worker was reaped. In the order in which the core saw it. */
  | {
      readonly event: 'exited';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly pid: number;
      readonly exit: NativeExit;
      readonly usage?: NativeUsage;
    }
  /**
   * The last event of a group: every worker is reaped or stuck, whatever they left behind has ended, their output is in
   * its files, or was given up. A console may still have to get the rest from there. Comes once for each group that had
   * `started`.
   */
  | {
      readonly event: 'ended';
      readonly group: number;
      readonly atMs: number;
      readonly stuck: readonly NativeStuck[];
      /** Processes of the group, other than workers, that had to be signalled. */
      readonly strays: readonly NativeProcess[];
      /** Those that were left alone. */
      readonly left: readonly NativeProcess[];
      readonly tails: readonly NativeTail[];
    }
  /**
   * Trouble with output that the worker mustn't notice: ENOSPC, a closed console, lines dropped. ETIMEDOUT: the file
   * takes nothing, so that its worker waits, or its last lines are lost.
   */
  | {
      readonly event: 'output-trouble';
      readonly group: number;
      readonly atMs: number;
      readonly index: number;
      readonly path: string;
      readonly syscall: string;
      readonly errno: number;
      readonly droppedLines: number;
    }
  /** No cgroup could be made at `path`, or, if that's empty, there's no hierarchy. Told once, with the first group. */
  | {
      readonly event: 'ungrouped';
      readonly group: number;
      readonly atMs: number;
      readonly path: string;
      readonly syscall: string;
      readonly errno: number;
    }
  /** The guardian couldn't be started. Told once, with the first group. */
  | {
      readonly event: 'unguarded';
      readonly group: number;
      readonly atMs: number;
      readonly syscall: string;
      readonly errno: number;
    };

/** The supervisor thread, and the output thread once something is piped. */
export interface NativeSupervisor {
  /** Starts all workers or none; the outcome comes as `started` or `start-failed`. */
  startGroup(plan: NativeGroupPlan): void;
  /**
   * Signals, continues stopped processes, and kills the workers that are left when the grace period ends. A second call
   * can only shorten the grace period. A group that is still starting is stopped as soon as it has started; while its
   * log files are being opened, its start fails with ECANCELED. Unknown or ended groups: nothing.
   */
  stopGroup(group: number, stop: NativeStop): void;
  /** Signals every live worker of the group, and stops nothing. */
  signalGroup(group: number, signal: number, target: 'leader' | 'group'): void;
  /**
   * Reaps zombie children of this process that the supervisor hasn't started. For process 1, which
   * inherits orphans; whatever else this process has started loses its status, unless it's a guest.
   */
  reapOrphans(): void;
  /**
   * For a child that Node starts, before it does, and that will bear `REGROUP_COOKIE=<cookie>`: from now
   * on the guardian knows it, and `reapOrphans` takes no status. Blocks until that's so, for a moment.
   */
  beginGuest(cookie: string): void;
  /** Such a child has been waited for. */
  endGuest(cookie: string): void;
  /** Kills every group, now, and waits at most `boundMs`. For `process.on('exit')`; blocks. */
  killAll(boundMs: number): void;
  /**
   * Ends the threads. Groups that are left are killed. Blocks for some seconds at most: a thread that hangs is left
   * behind. The output thread ends with the last who uses it: what consoles take within seconds is still written.
   * Idempotent.
   */
  close(): void;
}

/** How long `flush` waits for a console that takes nothing. */
export interface NativePatience {
  /** If workers' lines are among what it hasn't taken. Absent: as long as it has a reader. */
  readonly linesMs?: number;
  /** If there are but our own words. */
  readonly wordsMs: number;
}

export interface NativeFlushed {
  readonly id: number;
  /** Lines of workers that the consoles haven't taken, roughly. */
  readonly unshownLines: number;
}

/**
 * Our own words on stdout and stderr. They are written by the output thread, which carries workers' lines as well: no
 * call waits for a reader, and no line is torn.
 */
export interface NativeConsole {
  /**
   * Whole lines, in the order of the calls. Those for which there's no room any more are dropped, counted and told.
   *
   * @throws with `code` (EAGAIN, EMFILE…) if the thread can't be started
   */
  say(console: 1 | 2, lines: string): void;
  /**
   * Waits until the consoles have taken what they were given by now, and what ended groups still have for them in
   * their files; or have gone; or have taken nothing for too long. `onFlushed` is told, once per call.
   *
   * @returns false if there's nothing to wait for; then nothing is told
   */
  flush(id: number, patience: NativePatience): boolean;
  /** The same for a process that ends at once: blocks, `boundMs` at most. */
  flushNow(boundMs: number): void;
  /** Ends all waits of this process. */
  hurry(): void;
  /** What it has said is still written, but not waited for. Idempotent. */
  close(): void;
}

export interface NativeStoreAddress {
  readonly table: number;
  readonly port: number;
  /** `@…`, the Unix socket that gives shared memory; absent if none is offered. */
  readonly local?: string;
}

/** What a worker told by its slot of shared memory. Only `pid` is checked by anybody. */
export interface NativeStoreSlot {
  /** The worker's when it connected. */
  readonly pid: number;
  readonly rank: number;
  /** How often it told. */
  readonly beats: number;
  /** CLOCK_MONOTONIC of the last time. */
  readonly beatAtMs: number;
  readonly step: number;
  readonly phase: number;
}

/** One table's counters. */
export interface NativeStoreStats {
  /** Connections, now. */
  readonly clients: number;
  /** Those of them at shared memory. */
  readonly lanes: number;
  readonly keys: number;
  /** Clients whose WAIT or BARRIER isn't answered yet. */
  readonly waiters: number;
  /** Keys, values, queues and waiters, as the table's limit counts them. */
  readonly bytes: number;
  /** Connections, ever. */
  readonly accepted: number;
  /** Connections closed at once: no descriptor or lane was left, or shared memory of another user. */
  readonly refused: number;
  /** Connections closed for what they sent or left unread. */
  readonly faults: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The highest step that any slot has told, also of clients that are gone; 0 if none did. */
  readonly highestStep: number;
  /** How often each was applied; without those that never were. */
  readonly operations: Readonly<Record<string, number>>;
  /** Connections by the numbering of operations that they speak: `A` (1.13, 2.0), `B` (2.1), `D` (2.2 and later). */
  readonly dialects: Readonly<Record<string, number>>;
  /**
   * As on the wire, up to 16, the most asked for first, whatever the operation; of operations with several keys the first one counts.
   * `requests` is an estimate from a sample, and rather too low.
   */
  readonly hotKeys: readonly { readonly key: string; readonly requests: number }[];
  /** Parsing, applying, and sending to whom it released. Absent before the first operation. */
  readonly slowest?: { readonly operation: string; readonly ns: number };
}

/**
 * The store thread. It serves TCPStore's protocol; each table has a port of its own. No call waits for
 * what it's busy with: they read what it has published, or leave it something to do. `openTable`,
 * `resetTable` and `close` wait until that's done, but for no more than a second.
 */
export interface NativeStore {
  /**
   * Binds and listens at once, so that a port is never picked and then lost.
   *
   * @param hosts numeric addresses, all of them on the same port. One that this machine doesn't have is left out,
   *   unless it's the first. None: the table is at shared memory only
   * @param fd instead: a bound socket that somebody else has made; it's duplicated
   * @param port 0: the kernel chooses; with `fd`, any
   * @throws with `code` (EADDRINUSE…) and `syscall`
   */
  openTable(
    options: { readonly port: number } & (
      | { readonly hosts: readonly string[] }
      | { readonly fd: number }
    ),
  ): NativeStoreAddress;
  /** Empties the table and drops its connections; the port stays. */
  resetTable(table: number): void;
  /** Drops the table, its connections and its port, soon. Unknown tables: nothing. */
  closeTable(table: number): void;
  /** Unknown tables: zeros. */
  stats(table: number): NativeStoreStats;
  /** Of the clients at shared memory that have told something. Unknown tables: none. */
  slots(table: number): readonly NativeStoreSlot[];
  /** The word that every client at shared memory sees, soon; below 2³². A reset sets it to 0. */
  setNotice(table: number, notice: number): void;
  /**
   * Looks out, for ten minutes, for those of these processes that keep connecting to an address of this machine
   * where nobody listens, and reports them. Where the kernel doesn't tell of refused connections
   * there are no reports. None: nobody.
   */
  watchRefusals(pids: readonly number[]): void;
  /** Ends the thread. Returns when the ports are free. Idempotent. */
  close(): void;
}

export interface NativeStoreOptions {
  readonly disable: readonly string[];
  readonly sharedMemory: boolean;
  /** Descriptors of this process that no client gets; half of its limit at most. */
  readonly keptDescriptors: number;
}

/** What the store's thread says unasked. */
export type NativeStoreReport =
  /** About a client that's closed or refused; ten a second at most. */
  | { readonly report: 'line'; readonly line: string }
  /** A process of `watchRefusals`, or one that it has started, is refused there again and again. */
  | { readonly report: 'refused'; readonly pid: number; readonly address: string };

/** A store's shared memory, as somebody else's server gives it. */
export interface NativeSharedStore {
  /** Undefined: there's no such key; null: only the server can tell. */
  get(key: string): Buffer | undefined | null;
  notice(): number;
  close(): void;
}

/** A process that has memory of a GPU, as the driver tells it. */
export interface NativeGpuProcess {
  readonly pid: number;
  readonly kind: 'compute' | 'graphics';
  /** Absent where the driver doesn't say. */
  readonly usedBytes?: number;
}

/** Why something is missing. */
export interface NativeGpuTrouble {
  /** `timed-out`: the driver hangs; it isn't asked again until it has come back. */
  readonly why: 'no-library' | 'refused' | 'timed-out' | 'no-thread';
  /** The function of NVML. */
  readonly step: string;
  /** nvmlReturn_t for `refused`, an errno for `no-thread`, else 0. */
  readonly code: number;
  readonly text: string;
}

export interface NativeGpu {
  /** In the order of PCI addresses. */
  readonly index: number;
  /** `GPU-…`; empty where it can't be read. */
  readonly uuid: string;
  /** As sysfs has it: `0000:3b:00.0`; empty where it can't be read. */
  readonly pci: string;
  /** Of `/dev/nvidia<minor>`. */
  readonly minor?: number;
  /** MIG devices, `MIG-…`. */
  readonly instances: readonly {
    readonly uuid: string;
    readonly processes: readonly NativeGpuProcess[];
  }[];
  readonly processes: readonly NativeGpuProcess[];
  /** Of this one alone: what it tells may be incomplete. */
  readonly trouble?: NativeGpuTrouble;
}

export interface NativeGpus {
  readonly devices: readonly NativeGpu[];
  /** Then there are no devices. */
  readonly trouble?: NativeGpuTrouble;
}

export interface NativeDeviceHolders {
  readonly holders: readonly {
    readonly pid: number;
    /** Below the folder: `nvidia0`, `kfd`, `dri/renderD128`. */
    readonly devices: readonly string[];
  }[];
  /** Processes whose files we may not see: other users'. */
  readonly unread: readonly number[];
}

export interface NativeAddon {
  /**
   * @param onEvents called with batches, in order. It keeps Node alive only while a group does.
   * @param options.disable features to do without: `clone3`, `pidfd`, `pidfd-wait`, `close_range`, …
   * @param options.guardian the guardian's program; absent: there's none
   * @param options.earlyLibrary what workers preload, so that `dying` can be told; absent: nothing. Only
   *   where their program is a Python that takes it, which a look at its file tells
   * @param options.exitGuardLibrary the same against aborts when Python ends
   */
  createSupervisor(
    options: {
      readonly disable: readonly string[];
      readonly guardian?: string;
      readonly earlyLibrary?: string;
      readonly exitGuardLibrary?: string;
    },
    onEvents: (events: readonly NativeEvent[]) => void,
  ): NativeSupervisor;
  /** @param onFlushed called with batches. It keeps Node alive only while a flush is under way. */
  openConsole(onFlushed: (batch: readonly NativeFlushed[]) => void): NativeConsole;
  /**
   * Raises this process's soft limit of open files to its hard one, where Node hasn't, and not for
   * workers.
   */
  raiseNofile(): void;
  /**
   * From now on workers start with it, but for SIGTERM, by which they're asked to end. This process ignores these
   * signals as well, but those that Node needs or that a fault raises, until it listens to one. For commands; a later
   * call takes the place of an earlier one.
   */
  startedWith(start: NativeStart): void;
  createStore(
    options: NativeStoreOptions,
    onReport: (report: NativeStoreReport) => void,
  ): NativeStore;
  /**
   * Who listens at a TCP port, as far as we may see, and as it's found by then: other processes' files
   * may take for ever to be read. This waits for it.
   */
  portHolder(
    port: number,
    timeoutMs: number,
  ): { readonly pid: number; readonly command: string } | undefined;
  /**
   * A port that nobody has at any of the hosts at this moment: `port` itself, unless that's 0. It isn't
   * held.
   *
   * @throws with `code` (EADDRINUSE…) and `syscall`
   */
  freePort(options: { readonly hosts: readonly string[]; readonly port: number }): number;
  /** @throws with `code`: ECONNREFUSED: nobody's there, or refuses us; EACCES: it's another user's */
  openSharedStore(name: string): NativeSharedStore;
  /**
   * Asks NVIDIA's driver for its GPUs and who uses them, by NVML, which is loaded into this process
   * and stays there. Takes 10 to 50 ms where the driver is awake, and seconds where it isn't.
   *
   * @param timeoutMs then it's given up, though the driver may hang for good. A thread of Node's pool
   *   waits for so long.
   * @returns never rejects: `trouble` says what's wrong
   */
  gpus(timeoutMs: number): Promise<NativeGpus>;
  /**
   * Every other process that has a GPU's device file open, by the links below /proc, on a thread of
   * Node's pool.
   *
   * @param folder the devices', without links in its path: `/dev`
   * @param timeoutMs what isn't found by then is left away
   */
  deviceHolders(folder: string, timeoutMs: number): Promise<NativeDeviceHolders>;
  /** What this kernel offers, after `REGROUP_DISABLE`. */
  features(disable: readonly string[]): Readonly<Record<string, boolean>>;
  /**
   * Seconds that clocks on the wall are ahead of UTC at that moment, as the C library has it: unlike Node's ICU it knows zones
   * that TZ spells out, `<+0530>-5:30`.
   */
  utcOffset(unixSeconds: number): number;
  /**
   * Whether so many more threads can be had at this moment.
   *
   * @throws with `code` (EAGAIN) and `syscall`, where they can't
   */
  probeThreads(count: number): void;
  /** Clock of `atMs`. */
  monotonicMs(): number;
  /** Ends the process without Node's tear-down; its `exit` listeners don't run. Only for commands. */
  exitNow(code: number): never;
  readonly constants: { readonly signals: Readonly<Record<string, number>> };
}

const require = createRequire(import.meta.url);
/** dist/'s parent, where node-gyp-build looks. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..');

let loaded: NativeAddon | undefined;

/** Loads the addon on first use. @throws ERR_NATIVE_MISSING, ERR_MACHINE */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

/** The addon if somebody has needed it already. */
export function loadedNative(): NativeAddon | undefined {
  return loaded;
}

function load(): NativeAddon {
  try {
    return require(addonPath()) as NativeAddon;
  } catch (error) {
    // Whoever looks for a file while no descriptor is left finds that it isn't there.
    onMachine(cantLoad, () => closeSync(openSync(packageRoot, 'r')));
    const why = error instanceof Error ? error.message : String(error);
    const shortage = shortages.find(([text]) => why.includes(text));
    if (shortage !== undefined) {
      const said = `${why.split('\n', 1)[0]}${adviceFor(shortage[1])}`;
      throw launchError('ERR_MACHINE', [cantLoad, said], error);
    }
    // Further lines tell again where it was looked for.
    throw launchError('ERR_NATIVE_MISSING', [packageRoot, why.split('\n', 1).join('')], error);
  }
}

const cantLoad = "can't load the native addon";

/** As the dynamic loader says it, by strerror(3), and as Node does. @source glibc 2.36, elf/dl-load.c */
const shortages: readonly (readonly [text: string, code: string])[] = [
  ['Too many open files in system', 'ENFILE'],
  ['Too many open files', 'EMFILE'],
  ['EMFILE', 'EMFILE'],
  ['ENFILE', 'ENFILE'],
  ['Cannot allocate memory', 'ENOMEM'],
];

let path: string | undefined;

/** Where the addon is. Found once: a second look might fail for lack of descriptors, and a first one may have. */
function addonPath(): string {
  const find = (): string => require('node-gyp-build').path(packageRoot);
  try {
    path ??= find();
  } catch {
    path = find();
  }
  return path;
}

/** What workers load to reach the store through shared memory: it lies beside the addon. */
export function sharedMemoryLibrary(): string {
  return besideAddon('regroup_shm.so');
}

/** The program that outlives a killed agent, and then kills what's left of its workers. */
export function guardianProgram(): string {
  return besideAddon('regroup_guardian');
}

/** What workers preload, so that their deaths are known before their memory is freed. */
export function earlyLibrary(): string {
  return besideAddon('regroup_early.so');
}

/** What workers preload, so that Python's end isn't told as an abort. */
export function exitGuardLibrary(): string {
  return besideAddon('regroup_exit_guard.so');
}

function besideAddon(name: string): string {
  return join(dirname(addonPath()), name);
}
