import { bindingModes, memoryModes, type Placement } from '../../options/placement.js';
import { parseList } from '../../placement/cpu-list.js';
import type { Feature } from '../features.js';
import type { OptionSpec } from '../option-spec.js';
import type { Values } from '../values.js';

const own = { env: false, origin: 'regroup', group: 'placement' } as const;
const acceptedBind = 'auto, or CPUs by local rank, like 0:0-7,1:8-15';

const options: readonly OptionSpec[] = [
  {
    ...own,
    names: ['--bind'],
    dest: 'bind',
    takes: 'text',
    metavar: 'auto|RANK:CPUS,…',
    help: 'CPUs of each worker: auto takes those near its GPU, or spreads workers over NUMA nodes; or say them by local rank, like 0:0-7,1:8-15.',
  },
  {
    ...own,
    names: ['--numa-memory'],
    dest: 'numa_memory',
    takes: 'text',
    choices: memoryModes,
    help: 'Memory of workers that are bound: from the nodes of their CPUs only, from those first (default), from all in turn, or as the kernel likes.',
  },
  {
    ...own,
    names: ['--numa-fallback'],
    dest: 'numa_fallback',
    takes: 'flag',
    help: 'Start workers without a binding that cannot be had, and warn.',
  },
];

export const placement: Feature = {
  options,
  read(values) {
    const mode = bindingModes.find(each => each === values.text('numa_binding'));
    const bind = values.text('bind');
    if (mode !== undefined && bind !== undefined) {
      values.refuse('bind', '--numa-binding says it too', 'one of the two');
    }
    const memory = memoryModes.find(each => each === values.text('numa_memory'));
    const fallback = values.flag('numa_fallback');
    if (mode === undefined && bind === undefined) {
      const without = 'nothing is bound without --numa-binding or --bind';
      if (memory !== undefined) values.refuse('numa_memory', without, 'one of them beside it');
      if (fallback) values.refuse('numa_fallback', without, 'one of them beside it');
      return {};
    }
    return {
      placement: {
        ...(bind === undefined ? {} : parseBind(values, bind)),
        ...(mode === undefined ? {} : { mode }),
        ...(memory === undefined ? {} : { memory }),
        ...(fallback ? { fallback } : {}),
      },
    };
  },
};

/** A part with a colon begins another rank; one without goes on with the last one's list. */
function parseBind(values: Values, text: string): Pick<Placement, 'mode' | 'cpus'> {
  if (text === 'auto') return { mode: 'auto' };

  const cpus: Record<number, string> = {};
  let rank: number | undefined;
  for (const part of text.split(',')) {
    const match = /^(?:(\d{1,6}):)?(\d[\d-]*)$/.exec(part.trim());
    if (match === null) return values.refuse('bind', `${part} is no list of CPUs`, acceptedBind);
    const named: number | undefined = match[1] === undefined ? rank : Number(match[1]);
    if (named === undefined)
      return values.refuse('bind', `${part} names no local rank`, acceptedBind);
    if (match[1] !== undefined && Object.hasOwn(cpus, named)) {
      return values.refuse('bind', `local rank ${named} is named twice`, acceptedBind);
    }
    const before = cpus[named];
    cpus[named] = before === undefined ? `${match[2]}` : `${before},${match[2]}`;
    rank = named;
  }
  for (const list of Object.values(cpus)) {
    if (parseList(list) === undefined)
      values.refuse('bind', `${list} is no list of CPUs`, acceptedBind);
  }
  return { cpus };
}
