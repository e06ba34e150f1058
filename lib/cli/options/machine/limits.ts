import {
  type IoPriority,
  type LimitOptions,
  maxCpuQuota,
  maxPids,
  minCpuQuota,
  minMemoryBytes,
  type Rlimit,
  type RlimitName,
  type RlimitValue,
  rlimitNames,
} from '../../../options/machine/limits.js';
import { didYouMean } from '../../../util/nearest.js';
import { acceptedSize, parseSize } from '../../line/sizes.js';
import { readWhole } from '../../line/whole.js';
import type { Feature, Values } from '../spec.js';

const ours = { takes: 'text', env: false, origin: 'regroup', group: 'limits' } as const;

const acceptedRlimits = `NAME=SOFT[:HARD], a whole number or unlimited each, with a name of ${rlimitNames.join(', ')}`;

export const limits: Feature = {
  options: [
    {
      ...ours,
      names: ['--rlimit'],
      dest: 'rlimit',
      metavar: 'NAME=SOFT[:HARD],…',
      help: 'Resource limits of each worker, with the names, units and forms of prlimit(1): nofile=65536,core=unlimited. One number is for both; soft: and :hard leave the other as it is. Default: inherited.',
    },
    {
      ...ours,
      names: ['--nice'],
      dest: 'nice',
      metavar: 'N',
      help: 'CPU priority of workers, from -20 (first) to 19. Default: inherited.',
    },
    {
      ...ours,
      names: ['--ionice'],
      dest: 'ionice',
      metavar: 'CLASS[:LEVEL]',
      help: 'Disk priority of workers: realtime, best-effort (each with a level from 0, first, to 7) or idle. Default: inherited.',
    },
    {
      ...ours,
      names: ['--oom-score-adj'],
      dest: 'oom_score_adj',
      metavar: 'N',
      help: 'Who is killed when memory runs out: workers never (-1000) to first (1000). Default: inherited.',
    },
    {
      ...ours,
      names: ['--umask'],
      dest: 'umask',
      metavar: 'OCTAL',
      help: "Permissions that workers' new files don't get, e.g. 027. Default: inherited.",
    },
    {
      ...ours,
      names: ['--memory-max'],
      dest: 'memory_max',
      metavar: 'SIZE',
      help: 'Memory that a worker and all that it starts may have, like 64G; beyond, they are killed. As the next three, by a cgroup. Default: no limit.',
    },
    {
      ...ours,
      names: ['--memory-high'],
      dest: 'memory_high',
      metavar: 'SIZE',
      help: 'Memory beyond which a worker and all that it starts are slowed down and have to give some back. Default: no limit.',
    },
    {
      ...ours,
      names: ['--pids-max'],
      dest: 'pids_max',
      metavar: 'N',
      help: 'Processes and threads that a worker and all that it starts may be. Default: no limit.',
    },
    {
      ...ours,
      names: ['--cpu-quota'],
      dest: 'cpu_quota',
      metavar: 'CPUS',
      help: 'CPUs whose time a worker and all that it starts may take, like 2.5. Default: no limit.',
    },
  ],
  read(values) {
    const nice = readWhole(values, 'nice', -20, 19);
    const oomScoreAdj = readWhole(values, 'oom_score_adj', -1000, 1000);
    return {
      ...readRlimits(values),
      ...(nice === undefined ? {} : { nice }),
      ...readIonice(values),
      ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
      ...readUmask(values),
      ...readUsage(values),
    };
  },
};

function readRlimits(values: Values): LimitOptions {
  const text = values.text('rlimit');
  if (text === undefined) return {};

  const rlimits: Partial<Record<RlimitName, Rlimit>> = {};
  for (const entry of text.split(',')) {
    const [, name = '', value = ''] = /^([^=]*)=(.*)$/.exec(entry) ?? [];
    const known = rlimitNames.find(each => each === name);
    const limit = known === undefined ? undefined : parseRlimit(value);
    if (known === undefined || limit === undefined) {
      const why =
        known !== undefined || name === ''
          ? `'${entry}' is not a limit`
          : `no resource '${name}'${didYouMean(name, rlimitNames)}`;
      return values.refuse('rlimit', why, acceptedRlimits);
    }
    if (rlimits[known] !== undefined) {
      return values.refuse('rlimit', `${name} comes twice`, acceptedRlimits);
    }
    rlimits[known] = limit;
  }
  return { rlimits };
}

/** @source util-linux 2.38, sys-utils/prlimit.c, parse_prlim: SOFT:HARD, SOFT:, :HARD, BOTH */
function parseRlimit(text: string): Rlimit | undefined {
  const [first = '', second, ...more] = text.split(':');
  if (more.length > 0) return undefined;
  if (second === undefined) return parseValue(first);

  const soft = first === '' ? {} : { soft: parseValue(first) };
  const hard = second === '' ? {} : { hard: parseValue(second) };
  const limit = { ...soft, ...hard };
  const parts = Object.values(limit);
  if (parts.length === 0 || parts.includes(undefined)) return undefined;
  if (limit.soft !== undefined && limit.hard !== undefined && isAbove(limit.soft, limit.hard)) {
    return undefined;
  }
  return limit as Rlimit; // includes has just told that none is undefined
}

function parseValue(text: string): RlimitValue | undefined {
  // Beyond 2^53 a number isn't what was written.
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  return text === 'unlimited' ? text : undefined;
}

function isAbove(soft: RlimitValue, hard: RlimitValue): boolean {
  return hard !== 'unlimited' && (soft === 'unlimited' || soft > hard);
}

function readIonice(values: Values): LimitOptions {
  const text = values.text('ionice');
  if (text === undefined) return {};

  const [, name, level] = /^(realtime|best-effort|idle)(?::([0-7]))?$/.exec(text) ?? [];
  if (name === undefined || (name === 'idle' && level !== undefined)) {
    const accepted = 'realtime[:0-7], best-effort[:0-7] or idle';
    return values.refuse('ionice', `'${text}' is no class and level`, accepted);
  }
  const ionice = { class: name as IoPriority['class'] }; // the pattern has just told
  return { ionice: level === undefined ? ionice : { ...ionice, level: Number(level) } };
}

function readUsage(values: Values): LimitOptions {
  const memoryMax = readSize(values, 'memory_max');
  const memoryHigh = readSize(values, 'memory_high');
  const pidsMax = readWhole(values, 'pids_max', 1, maxPids);
  const cpuQuota = readCpuQuota(values);
  return {
    ...(memoryMax === undefined ? {} : { memoryMax }),
    ...(memoryHigh === undefined ? {} : { memoryHigh }),
    ...(pidsMax === undefined ? {} : { pidsMax }),
    ...(cpuQuota === undefined ? {} : { cpuQuota }),
  };
}

function readSize(values: Values, dest: string): number | undefined {
  const text = values.text(dest);
  if (text === undefined) return undefined;
  const bytes = parseSize(text);
  if (bytes !== undefined && bytes >= minMemoryBytes) return bytes;
  const why = bytes === undefined ? `'${text}' is no size` : `'${text}' is less than 1 MiB`;
  return values.refuse(dest, why, acceptedSize);
}

function readCpuQuota(values: Values): number | undefined {
  const text = values.text('cpu_quota');
  if (text === undefined) return undefined;
  const cpus = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (cpus >= minCpuQuota && cpus <= maxCpuQuota) return cpus;
  const accepted = `a number of CPUs from ${minCpuQuota} to ${maxCpuQuota}, like 2.5`;
  return values.refuse('cpu_quota', `'${text}' is out of range or no number`, accepted);
}

function readUmask(values: Values): LimitOptions {
  const text = values.text('umask');
  if (text === undefined) return {};
  if (/^(?:0o?)?[0-7]{1,3}$/.test(text))
    return { umask: Number.parseInt(text.replace('o', ''), 8) };
  return values.refuse('umask', `'${text}' is no octal number`, '000 to 777, in octal');
}
