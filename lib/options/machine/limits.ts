import { type Check, isRecord, isWhole } from '../checks.js';

/**
 * Resources as prlimit(1) spells them; setrlimit(2) tells their units.
 *
 * @source util-linux 2.38, sys-utils/prlimit.c, prlimit_desc
 */
export const rlimitNames = [
  'as',
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
] as const;

export type RlimitName = (typeof rlimitNames)[number];

export type RlimitValue = number | 'unlimited';

/** Soft and hard limit: one for both, or each by itself; a limit that's absent stays as it is. */
export type Rlimit = RlimitValue | { readonly soft?: RlimitValue; readonly hard?: RlimitValue };

/** @source Linux, include/uapi/linux/ioprio.h */
const ioClasses = { realtime: 1, 'best-effort': 2, idle: 3 } as const;

export interface IoPriority {
  readonly class: keyof typeof ioClasses;
  /** 0, served first, to 7; `idle` has none. @default 4 */
  readonly level?: number;
}

/** What each worker may use, and how the kernel treats it; set before its program runs. */
export interface LimitOptions {
  /** Resource limits. @default our own */
  readonly rlimits?: Readonly<Partial<Record<RlimitName, Rlimit>>>;
  /** Niceness, from -20, served first, to 19. @default our own */
  readonly nice?: number;
  /** Priority at the disk, where its scheduler knows priorities. @default our own */
  readonly ionice?: IoPriority;
  /** Score from -1000, never killed when memory runs out, to 1000, killed first. @default our own */
  readonly oomScoreAdj?: number;
  /** Permissions that new files don't get, as a number: 0o027. @default our own */
  readonly umask?: number;
  /**
   * Bytes that a worker and all that it starts may have before they're slowed down and made to give some
   * back; from 1 MiB. This and the following limits take a cgroup that we may change: a start without is ERR_SPAWN. This
   * one takes version 2. @default none
   */
  readonly memoryHigh?: number;
  /** Bytes that a worker and all that it starts may have before all of them are killed; from 1 MiB. @default none */
  readonly memoryMax?: number;
  /** Processes and threads that a worker and all that it starts may be. @default none */
  readonly pidsMax?: number;
  /** CPUs' worth of time that a worker and all that it starts may take, such as 2.5; from 0.01. @default none */
  readonly cpuQuota?: number;
}

/** Period in which a worker may take its quota. @source Linux, Documentation/scheduler/sched-bwc.rst: its default */
export const cpuPeriodUs = 100_000;
/** Least limit of memory that's no mistake: an interpreter alone takes more. */
export const minMemoryBytes = 2 ** 20;
export const maxPids = 2 ** 22;
export const minCpuQuota = 0.01;
export const maxCpuQuota = 65_536;

const acceptedMemory = `a whole number of bytes from ${minMemoryBytes} (1 MiB)`;

export const limitChecks: Readonly<Record<keyof LimitOptions, Check>> = {
  rlimits: [
    value =>
      isRecord(value) &&
      Object.entries(value).every(
        ([name, limit]) => rlimitNames.includes(name as RlimitName) && isRlimit(limit), // includes compares anything
      ),
    `whole numbers from 0, 'unlimited' or { soft, hard } for some of ${rlimitNames.join(', ')}; no soft limit above its hard one`,
  ],
  nice: [value => isWhole(value, -20, 19), 'a whole number from -20 to 19'],
  ionice: [
    isIoPriority,
    "{ class: 'realtime' | 'best-effort', level: 0 to 7 } or { class: 'idle' }",
  ],
  oomScoreAdj: [value => isWhole(value, -1000, 1000), 'a whole number from -1000 to 1000'],
  umask: [value => isWhole(value, 0, 0o777), 'a whole number from 0 to 0o777'],
  memoryHigh: [isMemory, acceptedMemory],
  memoryMax: [isMemory, acceptedMemory],
  pidsMax: [value => isWhole(value, 1, maxPids), `a whole number from 1 to ${maxPids}`],
  cpuQuota: [
    value => typeof value === 'number' && value >= minCpuQuota && value <= maxCpuQuota,
    `a number of CPUs from ${minCpuQuota} to ${maxCpuQuota}`,
  ],
};

/** The kernel's number for it. @source ioprio_set(2) */
export function ioPriorityNumber({ class: name, level = name === 'idle' ? 0 : 4 }: IoPriority) {
  return (ioClasses[name] << 13) | level;
}

function isMemory(value: unknown): boolean {
  return isWhole(value, minMemoryBytes);
}

function isRlimit(value: unknown): value is Rlimit {
  if (isRlimitValue(value)) return true;
  if (!isRecord(value)) return false;
  const { soft, hard, ...more } = value;
  return (
    Object.keys(more).length === 0 &&
    (soft !== undefined || hard !== undefined) &&
    (soft === undefined || isRlimitValue(soft)) &&
    (hard === undefined || isRlimitValue(hard)) &&
    (soft === undefined || hard === undefined || amount(soft) <= amount(hard))
  );
}

function isRlimitValue(value: unknown): value is RlimitValue {
  return value === 'unlimited' || isWhole(value, 0);
}

function amount(value: RlimitValue): number {
  return value === 'unlimited' ? Number.POSITIVE_INFINITY : value;
}

function isIoPriority(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { class: name, level, ...more } = value;
  if (Object.keys(more).length > 0) return false;
  if (name === 'idle') return level === undefined;
  return (
    (name === 'realtime' || name === 'best-effort') && (level === undefined || isWhole(level, 0, 7))
  );
}
