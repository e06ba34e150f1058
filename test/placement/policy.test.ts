import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { nodeOfPci, readTopology } from '../../lib/machine/topology.js';
import type { BindingMode } from '../../lib/options/machine/placement.js';
import { bind } from '../../lib/placement/policy.js';
import { formatList } from '../../lib/util/cpu-list.js';
import { allowedOf, filesOf, type Machine, machines, pciOf, sourceOf } from './machine.js';

const modes = ['node', 'socket', 'exclusive', 'core-complex'] as const;
const recorded: Record<string, Record<string, string[]>> = JSON.parse(
  readFileSync(join(process.cwd(), 'test/fixtures/torchrun-bindings.json'), 'utf8'),
);

function bound(machine: Machine, mode: BindingMode, ranks: number) {
  const source = sourceOf(filesOf(machine));
  const topology = readTopology(source);
  const gpuNodes = machine.gpuNodes.map((_, gpu) => nodeOfPci(source, topology, pciOf(gpu)));
  return bind(topology, { mode, memory: 'preferred', ranks, gpuNodes });
}

function listsOf(machine: Machine, mode: BindingMode, ranks: number): string[] | string {
  const outcome = bound(machine, mode, ranks);
  if ('impossible' in outcome) return outcome.impossible;
  return outcome.bindings.map(({ cpus }) => formatList(cpus));
}

for (const [name, machine] of machines.filter(([, { gpuNodes }]) => gpuNodes.length > 0)) {
  for (const mode of modes) {
    t.test(`pain 19, L-102, L-103: ${mode} on ${name} gives torchrun's CPU sets`, async t => {
      const expected = recorded[name]?.[mode] ?? [];

      const lists = listsOf(machine, mode, machine.gpuNodes.length);

      if (expected.some(list => list === 'RuntimeError')) {
        t.match(lists, /cores for|has no CPU/, 'torchrun refuses too');
      } else if (expected.some(list => /Error$/.test(list))) {
        t.not(lists.length, 0, 'torchrun stumbles over a node without CPUs of ours');
        t.ok(Array.isArray(lists));
      } else {
        t.same(lists, expected);
      }
    });
  }
}

function named(name: string): Machine {
  const found = machines.find(([each]) => each === name)?.[1];
  if (found === undefined) throw new Error(`no machine ${name}`);
  return found;
}

t.test('pain 20: workers without GPUs are spread over the nodes, neighbours together', async t => {
  t.same(listsOf(named('epyc-nps4'), 'auto', 4), [
    '0-23,192-215',
    '48-71,240-263',
    '96-119,288-311',
    '144-167,336-359',
  ]);
  t.same(listsOf(named('xeon-snc'), 'node', 2), ['0-13,112-125', '14-27,126-139']);
});

t.test('auto binds nothing where all CPUs are in one node', async t => {
  t.same(bound(named('cloud-vm'), 'auto', 2), { bindings: [] });
});

t.test(
  'memory comes from the nodes of the CPUs, and never from one that only a GPU should use',
  async t => {
    const onHopper = bound(named('grace-hopper'), 'node', 1);
    t.match(onHopper, { bindings: [{ memory: { mode: 'preferred', nodes: [0] } }] });
    const onSnc = bound(named('xeon-snc'), 'socket', 4);
    t.match(onSnc, { bindings: [{ memory: { nodes: [0, 1, 2, 3] } }] });
    const onVm = bound(named('cloud-vm'), 'node', 1);
    t.same(onVm, { bindings: [{ cpus: [0, 1] }] }, 'no policy where there is no choice');
  },
);

t.test('a machine that hides its nodes has one, with all CPUs', async t => {
  const topology = readTopology(
    sourceOf({ '/proc/self/status': 'Cpus_allowed_list:\t0-3\nMems_allowed_list:\t0\n' }),
  );

  t.same(bind(topology, { mode: 'exclusive', memory: 'bind', ranks: 2, gpuNodes: [] }), {
    bindings: [{ cpus: [0, 1] }, { cpus: [2, 3] }],
  });
});

const anyMachine = fc
  .record({
    sockets: fc.integer({ min: 1, max: 4 }),
    nodesPerSocket: fc.integer({ min: 1, max: 4 }),
    coresPerNode: fc.integer({ min: 1, max: 32 }),
    threadsPerCore: fc.integer({ min: 1, max: 2 }),
    coresPerCache: fc.integer({ min: 1, max: 12 }),
    memoryOnlyNodes: fc.integer({ min: 0, max: 3 }),
    keep: fc.array(fc.boolean(), { minLength: 1, maxLength: 23 }),
    gpus: fc.array(fc.integer({ min: -1, max: 15 }), { maxLength: 8 }),
  })
  .map(({ keep, gpus, ...shape }): Machine => {
    const whole: Machine = { source: 'chance', gpuNodes: [], ...shape };
    const some = allowedOf(whole).filter(cpu => keep[cpu % keep.length] === true);
    const nodes = shape.sockets * shape.nodesPerSocket;
    return {
      ...whole,
      allowed: formatList(some.length === 0 ? [0] : some),
      gpuNodes: gpus.map(node => node % nodes),
    };
  });

t.test(
  'on any machine a binding is allowed, whole, the same again, and exclusive ones are disjoint',
  async t => {
    fc.assert(
      fc.property(
        anyMachine,
        fc.constantFrom(...modes, 'auto' as const),
        fc.integer({ min: 1, max: 40 }),
        (machine, mode, ranks) => {
          const outcome = bound(machine, mode, ranks);
          const allowed = new Set(allowedOf(machine));

          t.same(bound(machine, mode, ranks), outcome);
          if ('impossible' in outcome || outcome.bindings.length === 0) return;
          const used = outcome.bindings.flatMap(({ cpus }) => cpus);
          if (outcome.bindings.length !== ranks) throw new Error('a rank has no binding');
          if (outcome.bindings.some(({ cpus }) => cpus.length === 0)) throw new Error('empty');
          if (!used.every(cpu => allowed.has(cpu))) throw new Error('a CPU that is not ours');
          if (mode === 'exclusive' && new Set(used).size !== used.length) throw new Error('shared');
        },
      ),
      { numRuns: 150 },
    );
  },
);
