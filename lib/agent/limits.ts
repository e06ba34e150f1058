import type { NativePlan, NativeRlimit } from '../native.js';
import { ioPriorityNumber, type LimitOptions, type Rlimit } from '../options/limits.js';

/** The limits of a worker, as the core takes them. Pure. */
export function limitFields(
  options: LimitOptions,
): Pick<NativePlan, 'rlimits' | 'nice' | 'ioPriority' | 'oomScoreAdj' | 'umask'> {
  const { rlimits, nice, ionice, oomScoreAdj, umask } = options;
  return {
    ...(rlimits === undefined ? {} : { rlimits: nativeRlimits(rlimits) }),
    ...(nice === undefined ? {} : { nice }),
    ...(ionice === undefined ? {} : { ioPriority: ioPriorityNumber(ionice) }),
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(umask === undefined ? {} : { umask }),
  };
}

function nativeRlimits(rlimits: Readonly<Record<string, Rlimit>>): NativeRlimit[] {
  return Object.entries(rlimits).map(([name, limit]) =>
    typeof limit === 'object' ? { name, ...limit } : { name, soft: limit, hard: limit },
  );
}
