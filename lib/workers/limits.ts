import type { NativePlan, NativeRlimit } from '../native/plan.js';
import {
  cpuPeriodUs,
  ioPriorityNumber,
  type LimitOptions,
  type Rlimit,
} from '../options/machine/limits.js';

/** The limits of a worker, as the core takes them. Pure. */
export function limitFields(
  options: LimitOptions,
): Pick<
  NativePlan,
  | 'rlimits'
  | 'nice'
  | 'ioPriority'
  | 'oomScoreAdj'
  | 'umask'
  | 'memoryHigh'
  | 'memoryMax'
  | 'pidsMax'
  | 'cpuQuotaUs'
> {
  const { rlimits, nice, ionice, oomScoreAdj, umask } = options;
  const { memoryHigh, memoryMax, pidsMax, cpuQuota } = options;
  return {
    ...(rlimits === undefined ? {} : { rlimits: nativeRlimits(rlimits) }),
    ...(nice === undefined ? {} : { nice }),
    ...(ionice === undefined ? {} : { ioPriority: ioPriorityNumber(ionice) }),
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(umask === undefined ? {} : { umask }),
    ...(memoryHigh === undefined ? {} : { memoryHigh }),
    ...(memoryMax === undefined ? {} : { memoryMax }),
    ...(pidsMax === undefined ? {} : { pidsMax }),
    ...(cpuQuota === undefined ? {} : { cpuQuotaUs: Math.round(cpuQuota * cpuPeriodUs) }),
  };
}

/** Whether there are limits that take a cgroup. */
export function hasUsageLimits(options: LimitOptions): boolean {
  const { memoryHigh, memoryMax, pidsMax, cpuQuota } = options;
  return [memoryHigh, memoryMax, pidsMax, cpuQuota].some(limit => limit !== undefined);
}

function nativeRlimits(rlimits: Readonly<Record<string, Rlimit>>): NativeRlimit[] {
  return Object.entries(rlimits).map(([name, limit]) =>
    typeof limit === 'object' ? { name, ...limit } : { name, soft: limit, hard: limit },
  );
}
