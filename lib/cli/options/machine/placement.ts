import { bindingModes, memoryModes, type Placement } from '../../../options/machine/placement.js';
import { maxListed, parseList } from '../../../util/cpu-list.js';
import { readWhole } from '../../line/whole.js';
import type { Feature, OptionSpec, Values } from '../spec.js';

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
  {
    ...own,
    names: ['--reserve-cores'],
    dest: 'reserve_cores',
    takes: 'text',
    metavar: 'N',
    help: 'Whole cores that no bound worker gets, for the launcher and interrupts; from the nodes that have most. Default: none.',
  },
  {
    ...own,
    names: ['--threads-per-core'],
    dest: 'threads_per_core',
    takes: 'text',
    metavar: 'N',
    help: 'Hardware threads of each core that bound workers get: 1 leaves the siblings idle. Default: all.',
  },
  {
    ...own,
    names: ['--omp-places'],
    dest: 'omp_places',
    takes: 'flag',
    help: 'Set OMP_PLACES to the cores of each bound worker, and OMP_NUM_THREADS to their number unless it is set.',
  },
  {
    ...own,
    names: ['--gpu-per-rank'],
    dest: 'gpu_per_rank',
    takes: 'flag',
    help: 'Each worker sees the GPU of its local rank only, by its entry of CUDA_VISIBLE_DEVICES or its UUID. LOCAL_RANK stays; see --virtual-local-rank.',
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
    const ompPlaces = values.flag('omp_places');
    const reserveCores = readWhole(values, 'reserve_cores', 0, maxListed);
    const threadsPerCore = readWhole(values, 'threads_per_core', 1, 8);
    const gpuPerRank = values.flag('gpu_per_rank') ? { gpuPerRank: true } : {};
    if (mode === undefined && bind === undefined) {
      for (const [dest, isGiven] of [
        ['numa_memory', memory !== undefined],
        ['numa_fallback', fallback],
        ['omp_places', ompPlaces],
        ['reserve_cores', reserveCores !== undefined],
        ['threads_per_core', threadsPerCore !== undefined],
      ] as const) {
        const without = 'nothing is bound without --numa-binding or --bind';
        if (isGiven) values.refuse(dest, without, 'one of them beside it');
      }
      return gpuPerRank;
    }
    if (bind !== undefined && bind !== 'auto') {
      const said = '--bind says each CPU';
      if (reserveCores !== undefined) values.refuse('reserve_cores', said, '--bind=auto');
      if (threadsPerCore !== undefined) values.refuse('threads_per_core', said, '--bind=auto');
    }
    return {
      ...gpuPerRank,
      placement: {
        ...(bind === undefined ? {} : parseBind(values, bind)),
        ...(mode === undefined ? {} : { mode }),
        ...(memory === undefined ? {} : { memory }),
        ...(fallback ? { fallback } : {}),
        ...(ompPlaces ? { ompPlaces } : {}),
        ...(reserveCores === undefined ? {} : { reserveCores }),
        ...(threadsPerCore === undefined ? {} : { threadsPerCore }),
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
