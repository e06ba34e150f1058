import type { MachineNode, Topology } from './topology.js';

/** What workers don't get of the machine. */
export interface Cut {
  /** Whole cores that stay free, for the launcher, data movers and interrupts. @default 0 */
  readonly reserveCores?: number;
  /** Hardware threads of each core that workers get, the first ones. @default all */
  readonly threadsPerCore?: number;
}

/**
 * The machine without what's kept back; pure. Reserved cores come from the node that has most left,
 * the first of equals, its first core first: that's where most machines take their interrupts.
 */
export function cutTopology(
  topology: Topology,
  { reserveCores = 0, threadsPerCore }: Cut,
): Topology | { readonly impossible: string } {
  const cores = topology.nodes.map(({ cpus }) => coresOf(topology, cpus));
  const count = cores.reduce((sum, each) => sum + each.length, 0);
  if (reserveCores > 0 && reserveCores >= count) {
    return { impossible: `${reserveCores} reserved cores leave none of ${count} for workers` };
  }
  for (let kept = 0; kept < reserveCores; kept++) {
    const most = Math.max(...cores.map(each => each.length));
    cores.find(each => each.length === most)?.shift();
  }
  const nodes = topology.nodes.map((node, index): MachineNode => {
    const cpus = (cores[index] ?? []).flatMap(threads => threads.slice(0, threadsPerCore));
    return { ...node, cpus: cpus.sort((a, b) => a - b) };
  });
  // What's lazy stays so: all else is that of the whole machine.
  return Object.create(topology, { nodes: { value: nodes, enumerable: true } });
}

/** The given CPUs by core, in the order of the cores' first threads. */
export function coresOf(
  { coreOf }: Pick<Topology, 'coreOf'>,
  cpus: readonly number[],
): (readonly number[])[] {
  return groupsOf(cpus, coreOf)
    .sort(([one], [other]) => one - other)
    .map(([, threads]) => threads);
}

/** CPUs that have the same first one, in the order in which they come. */
export function groupsOf(
  cpus: readonly number[],
  firstOf: ReadonlyMap<number, number>,
): [first: number, cpus: number[]][] {
  const groups = new Map<number, number[]>();
  for (const cpu of cpus) {
    const first = firstOf.get(cpu) ?? cpu;
    const group = groups.get(first);
    if (group === undefined) groups.set(first, [cpu]);
    else group.push(cpu);
  }
  return [...groups];
}
