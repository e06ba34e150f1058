import fc from 'fast-check';
import t from 'tap';
import { cutTopology } from '../../lib/machine/cut.js';
import { readTopology, type Topology } from '../../lib/machine/topology.js';
import { ompEnv, ownDevice } from '../../lib/placement/env.js';
import { formatList } from '../../lib/util/cpu-list.js';
import { filesOf, type Machine, sourceOf } from '../placement/machine.js';

const twoSockets: Machine = {
  source: 'made up',
  sockets: 2,
  nodesPerSocket: 1,
  coresPerNode: 4,
  threadsPerCore: 2,
  coresPerCache: 4,
  gpuNodes: [],
};

function topologyOf(machine: Machine): Topology {
  return readTopology(sourceOf(filesOf(machine)));
}

function listsOf(cut: ReturnType<typeof cutTopology>): string[] | string {
  return 'impossible' in cut ? cut.impossible : cut.nodes.map(({ cpus }) => formatList(cpus));
}

t.test('reserved cores go with all their threads, from the nodes that have most', async t => {
  const topology = topologyOf(twoSockets);

  t.same(listsOf(cutTopology(topology, { reserveCores: 1 })), ['1-3,9-11', '4-7,12-15']);
  t.same(listsOf(cutTopology(topology, { reserveCores: 3 })), ['2-3,10-11', '5-7,13-15']);
  t.match(listsOf(cutTopology(topology, { reserveCores: 8 })), /8 reserved cores leave none of 8/);
});

t.test('SMT: the first threads of each core, also where the first of all is not ours', async t => {
  const topology = topologyOf({ ...twoSockets, allowed: '0-1,9-15' });

  t.same(listsOf(cutTopology(topology, { threadsPerCore: 1 })), ['0-1,10-11', '12-15']);
  t.same(listsOf(cutTopology(topology, { threadsPerCore: 2 })), ['0-1,9-11', '12-15']);
});

t.test('whatever is cut, nothing is added and whole cores are kept back', async () => {
  const machines = fc.record({
    source: fc.constant('chance'),
    sockets: fc.integer({ min: 1, max: 2 }),
    nodesPerSocket: fc.integer({ min: 1, max: 4 }),
    coresPerNode: fc.integer({ min: 1, max: 16 }),
    threadsPerCore: fc.integer({ min: 1, max: 2 }),
    coresPerCache: fc.integer({ min: 1, max: 8 }),
    gpuNodes: fc.constant([]),
  });
  fc.assert(
    fc.property(machines, fc.nat(40), (machine, reserveCores) => {
      const whole = topologyOf(machine);
      const cut = cutTopology(whole, { reserveCores });
      const count = machine.sockets * machine.nodesPerSocket * machine.coresPerNode;
      if (reserveCores > 0 && reserveCores >= count) return 'impossible' in cut;
      if ('impossible' in cut) return false;

      const left = cut.nodes.flatMap(({ cpus }) => cpus);
      const sizes = cut.nodes.map(({ cpus }) => cpus.length / machine.threadsPerCore);
      return (
        left.length === (count - reserveCores) * machine.threadsPerCore &&
        Math.max(...sizes) - Math.min(...sizes) <= 1 &&
        cut.nodes.every(({ cpus }, node) =>
          cpus.every(cpu => whole.nodes[node]?.cpus.includes(cpu)),
        )
      );
    }),
    { numRuns: 200 },
  );
});

t.test('OpenMP gets a place for each core', async t => {
  const topology = topologyOf(twoSockets);

  t.same(ompEnv(topology, [0, 1, 8, 9], {}), { OMP_PLACES: '{0,8},{1,9}', OMP_NUM_THREADS: '2' });
  t.same(ompEnv(topology, [3], { OMP_NUM_THREADS: '4' }), { OMP_PLACES: '{3}' });
});

t.test('L-040: the one device of a rank keeps the name that it has', async t => {
  const gpus = [0, 1].map(gpu => ({ uuid: `GPU-${gpu}`, pci: `0000:0${gpu}:00.0` }));

  const listed = { CUDA_VISIBLE_DEVICES: 'GPU-8f3, MIG-77,3' };
  t.same(ownDevice(listed, 0, gpus), { CUDA_VISIBLE_DEVICES: 'GPU-8f3' });
  t.same(ownDevice(listed, 1, gpus), { CUDA_VISIBLE_DEVICES: 'MIG-77' });
  t.throws(() => ownDevice(listed, 3, gpus), {
    code: 'ERR_VISIBLE_DEVICES',
    message: /local_rank 3 exceeds available GPUs in CUDA_VISIBLE_DEVICES=GPU-8f3, MIG-77,3/,
  });
  t.same(ownDevice({ HIP_VISIBLE_DEVICES: '4,5' }, 1, []), { HIP_VISIBLE_DEVICES: '5' });
  t.same(ownDevice({ ZE_AFFINITY_MASK: '0.0,0.1' }, 1, []), { ZE_AFFINITY_MASK: '0.1' });
  t.same(ownDevice({}, 1, gpus), { CUDA_VISIBLE_DEVICES: 'GPU-1' });
  t.throws(() => ownDevice({}, 2, gpus), /exceeds available GPUs in this machine, which has 2/);
  t.same(ownDevice({}, 5, []), { CUDA_VISIBLE_DEVICES: '5' }, 'where nothing is known of them');
});
