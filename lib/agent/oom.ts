import type { NativeUsage } from '../native.js';

/**
 * Whether the kernel has killed somebody for lack of memory, and where: by the counters of the memory cgroup
 * that this process and its workers are in, or of the whole machine. Nothing else tells a SIGKILL of the
 * kernel's from anybody's.
 *
 * @source Linux 6.18, Documentation/admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (memory.oom_control), mm/oom_kill.c (oom_kill in /proc/vmstat, since 4.13)
 */

/** Gives a file's text; undefined if it can't be read. */
export type ReadFile = (path: string) => string | undefined;

export interface MemoryState {
  /** Processes that were killed in our cgroup, ever; absent without one. */
  readonly killedInCgroup?: number;
  /** The same in the whole machine. */
  readonly killedInMachine: number;
  readonly peakBytes?: number;
  /** Absent: none. */
  readonly limitBytes?: number;
  /** Share of the last ten seconds in which somebody waited for memory, in percent. */
  readonly pressure?: number;
}

/** A few small files; some tens of microseconds. */
export function memoryState(read: ReadFile): MemoryState {
  const folder = memoryCgroup(read);
  const cgroup = folder === undefined ? {} : cgroupState(folder, read);
  const pressure = /^some avg10=([\d.]+)/m.exec(
    (folder === undefined ? undefined : read(`${folder.path}/memory.pressure`)) ??
      read('/proc/pressure/memory') ??
      '',
  )?.[1];
  return {
    killedInMachine: count(read('/proc/vmstat'), 'oom_kill') ?? 0,
    ...cgroup,
    ...(pressure === undefined ? {} : { pressure: Number(pressure) }),
  };
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
export function outOfMemory(before: MemoryState, after: MemoryState): string | undefined {
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
  readonly version: 1 | 2;
  readonly path: string;
}

function memoryCgroup(read: ReadFile): Folder | undefined {
  const ours = (read('/proc/self/cgroup') ?? '').split('\n').map(line => line.split(':'));
  const mounts = (read('/proc/self/mountinfo') ?? '').split('\n').map(line => line.split(' '));
  const at = (type: string, option: string, path: string | undefined): string | undefined => {
    const mount = mounts.find(fields => {
      const [kind, , options = ''] = fields.slice(fields.indexOf('-') + 1);
      return kind === type && (option === '' || options.split(',').includes(option));
    });
    const [root = '/', point] = mount?.slice(3, 5) ?? [];
    if (point === undefined || path === undefined) return undefined;
    // In a container the mount shows a part of the tree.
    const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
    return `${point}${below === '/' ? '' : below}`;
  };

  const v1 = ours.find(([, controllers]) => controllers?.split(',').includes('memory'));
  const v1Path = at('cgroup', 'memory', v1?.slice(2).join(':'));
  if (v1Path !== undefined) return { version: 1, path: v1Path };
  const v2 = ours.find(([number, controllers]) => number === '0' && controllers === '');
  // Where limits made the agent move into one of its own, workers are beside that.
  const shared =
    v2
      ?.slice(2)
      .join(':')
      .replace(/\/regroup-agent-\d+$/, '') || '/';
  const v2Path = at('cgroup2', '', v2 === undefined ? undefined : shared);
  return v2Path === undefined ? undefined : { version: 2, path: v2Path };
}

function cgroupState({ version, path }: Folder, read: ReadFile): Partial<MemoryState> {
  const files =
    version === 2
      ? { events: 'memory.events', peak: 'memory.peak', limit: 'memory.max' }
      : {
          events: 'memory.oom_control',
          peak: 'memory.max_usage_in_bytes',
          limit: 'memory.limit_in_bytes',
        };
  const killed = count(read(`${path}/${files.events}`), 'oom_kill');
  const peak = bytes(read(`${path}/${files.peak}`));
  const limit = bytes(read(`${path}/${files.limit}`));
  return {
    ...(killed === undefined ? {} : { killedInCgroup: killed }),
    ...(peak === undefined ? {} : { peakBytes: peak }),
    ...(limit === undefined ? {} : { limitBytes: limit }),
  };
}

function count(text: string | undefined, name: string): number | undefined {
  const number = new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1];
  return number === undefined ? undefined : Number(number);
}

/** `max`, and v1's huge number for it, are no limit. */
function bytes(text: string | undefined): number | undefined {
  const number = /^\d+/.exec(text ?? '')?.[0];
  return number === undefined || Number(number) > 2 ** 60 ? undefined : Number(number);
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const number = bytes / 1024 ** power;
  return `${number < 100 ? Number(number.toPrecision(3)) : Math.round(number)} ${units[power]}`;
}
