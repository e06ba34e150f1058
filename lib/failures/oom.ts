import type { NativeUsage } from '../native/events.js';
import { cgroupFolder, limitIn, type ReadFile, readIfAny } from '../system/cgroup-folders.js';

/**
 * Whether the kernel has killed somebody for lack of memory, and where: by the counters of the memory cgroup
 * that this process and its workers are in, or of the whole machine. Nothing else tells a SIGKILL of the
 * kernel's from anybody's.
 *
 * @source Linux 6.18, Documentation/admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (memory.oom_control), mm/oom_kill.c (oom_kill in /proc/vmstat, since 4.13)
 */

/** Processes that the kernel has ever killed for lack of memory. */
export interface MemoryKills {
  /** Kills in our cgroup; absent without one. */
  readonly killedInCgroup?: number;
  readonly killedInMachine: number;
}

export interface MemoryState extends MemoryKills {
  readonly peakBytes?: number;
  /** Memory limit; absent: none. */
  readonly limitBytes?: number;
  /** Share of the last ten seconds in which somebody waited for memory, in percent. */
  readonly pressure?: number;
}

/** The kernel's counters of this process and its workers. They're read apart: some wait for locks of everybody's. */
export interface MemoryCounters {
  kills(): Promise<MemoryKills>;
  state(): Promise<MemoryState>;
}

export function memoryCounters(read: ReadFile = readIfAny): MemoryCounters {
  let cgroup: Promise<Folder | undefined> | undefined;
  const folderOf = (): Promise<Folder | undefined> => {
    cgroup ??= memoryCgroup(read);
    return cgroup;
  };

  async function kills(): Promise<MemoryKills> {
    const folder = await folderOf();
    const events = folder && (await read(`${folder.path}/${folder.files.events}`));
    const killed = count(events, 'oom_kill');
    return {
      killedInMachine: count(await read('/proc/vmstat'), 'oom_kill') ?? 0,
      ...(killed === undefined ? {} : { killedInCgroup: killed }),
    };
  }

  async function state(): Promise<MemoryState> {
    const folder = await folderOf();
    const peak = folder && limitIn(await read(`${folder.path}/${folder.files.peak}`));
    const limit = folder && limitIn(await read(`${folder.path}/${folder.files.limit}`));
    const own = folder && (await read(`${folder.path}/memory.pressure`));
    const waits = own ?? (await read('/proc/pressure/memory')) ?? '';
    const pressure = /^some avg10=([\d.]+)/m.exec(waits)?.[1];
    return {
      ...(await kills()),
      ...(peak === undefined ? {} : { peakBytes: peak }),
      ...(limit === undefined ? {} : { limitBytes: limit }),
      ...(pressure === undefined ? {} : { pressure: Number(pressure) }),
    };
  }

  return { kills, state };
}

/**
 * The same for a worker that has a limit of its own: whether it was that one, in a sentence.
 *
 * @param limitBytes of the worker and all that it started
 */
export function outOfOwnMemory(
  { oomKills, peakBytes, pressure }: NativeUsage,
  limitBytes: number,
): string | undefined {
  if (oomKills === 0) return undefined;
  // The kernel counts each kill here, whatever ran out. One that's near its limit has met it.
  if (peakBytes !== undefined && peakBytes < 0.9 * limitBytes) return undefined;
  const limit = ` of its own limit ${size(limitBytes)}`;
  return `host memory: out of memory${peakOf(peakBytes)}${limit}${waitOf(pressure)}`;
}

/** What a SIGKILL between the two was, in a sentence; undefined if it was something else. */
export function outOfMemory(before: MemoryKills, after: MemoryState): string | undefined {
  const { peakBytes, limitBytes, pressure } = after;
  if ((after.killedInCgroup ?? 0) > (before.killedInCgroup ?? 0)) {
    const limit = limitBytes === undefined ? '' : ` of limit ${size(limitBytes)}`;
    const shared = `${limit}, which all workers here share`;
    return `host memory: out of memory${peakOf(peakBytes)}${shared}${waitOf(pressure)}`;
  }
  // In other containers, maybe: it's the machine's counter.
  if (after.killedInMachine > before.killedInMachine)
    return `host memory: this machine ran out of memory${waitOf(pressure)}`;
  return undefined;
}

function peakOf(bytes: number | undefined): string {
  return bytes === undefined ? '' : `, peak ${size(bytes)}`;
}

function waitOf(pressure: number | undefined): string {
  return pressure === undefined ? '' : `; memory pressure ${pressure} % of the last 10 s`;
}

interface Folder {
  readonly path: string;
  readonly files: { readonly events: string; readonly peak: string; readonly limit: string };
}

const filesOfV1 = {
  events: 'memory.oom_control',
  peak: 'memory.max_usage_in_bytes',
  limit: 'memory.limit_in_bytes',
};
const filesOfV2 = { events: 'memory.events', peak: 'memory.peak', limit: 'memory.max' };

async function memoryCgroup(read: ReadFile): Promise<Folder | undefined> {
  const found = await cgroupFolder('memory', read);
  return found && { path: found.path, files: found.version === 1 ? filesOfV1 : filesOfV2 };
}

function count(text: string | undefined, name: string): number | undefined {
  const number = new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1];
  return number === undefined ? undefined : Number(number);
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const number = bytes / 1024 ** power;
  return `${number < 100 ? Number(number.toPrecision(3)) : Math.round(number)} ${units[power]}`;
}
