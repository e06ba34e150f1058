import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import nodeGypBuild from 'node-gyp-build';
import { launchError, onMachine } from '../errors.js';
import { adviceFor } from '../util/errno.js';
import type { NativeEvent } from './events.js';
import type { NativeFileAnswer, NativeFiles } from './files.js';
import type { NativeDeviceHolders, NativeGpus } from './gpu.js';
import type { NativeLease, NativeLeaseEvent, NativeLeaseOptions } from './lease.js';
import type { NativeConsole, NativeFlushed } from './output.js';
import type { NativeStart } from './plan.js';
import type { NativeSharedStore } from './shared-store.js';
import type { NativeStore, NativeStoreOptions, NativeStoreReport } from './store.js';
import type { NativeSupervisor } from './supervisor.js';

/**
 * The addon, loaded and typed. Nobody else imports it.
 *
 * The types below are the contract with native/addon: it checks their shapes again, since an
 * addon must not crash on any argument, and throws a TypeError for what doesn't fit.
 */

/** What `watchPressure` gives. */
export interface NativePressureWatch {
  /** Idempotent. */
  close(): void;
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
  /** @param onDone called with batches. It keeps Node alive only while an errand is under way. */
  openFiles(onDone: (batch: readonly NativeFileAnswer[]) => void): NativeFiles;
  /**
   * Tells when tasks wait for memory, as the kernel sees it (PSI), and wakes nobody before. It doesn't keep Node alive.
   *
   * @param paths files of such triggers; those that aren't there, or take none of ours, are left away
   * @param trigger as the kernel takes it
   * @throws with `code` and `syscall`, where no thread can be had
   */
  watchPressure(
    paths: readonly string[],
    trigger: string,
    onPressure: () => void,
  ): NativePressureWatch;
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
   * Keeps a lease that our own server has granted, on a thread of its own, and moves the supervisor's fence with each
   * renewal that's confirmed.
   *
   * @param onEvent called once at most; nothing is renewed from then on, so that the fence passes unless
   *   it's moved. It doesn't keep Node alive
   * @throws with `code` (EINVAL: the host isn't numeric) and `syscall`
   */
  keepLease(
    options: NativeLeaseOptions,
    supervisor: NativeSupervisor,
    onEvent: (event: NativeLeaseEvent) => void,
  ): NativeLease;
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
   * Who has made the other end of a Unix socket; pid 0: in a pid namespace that isn't seen from here.
   *
   * @throws with `code` (EBADF, ENOTSOCK) and `syscall`
   */
  peerOf(socket: number): { readonly pid: number; readonly uid: number };
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
  /** Clock of the fence, CLOCK_BOOTTIME: it goes on while the machine sleeps. */
  boottimeMs(): number;
  /** Ends the process without Node's tear-down; its `exit` listeners don't run. Only for commands. */
  exitNow(code: number): never;
}

const require = createRequire(import.meta.url);
/** dist/'s parent, where node-gyp-build looks. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '../..');

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
  try {
    path ??= nodeGypBuild.path(packageRoot);
  } catch {
    path = nodeGypBuild.path(packageRoot);
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
