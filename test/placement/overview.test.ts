import t from 'tap';
import { topologyText } from '../../lib/cli/text/topology.js';
import { overviewOf } from '../../lib/machine/overview.js';
import type { TopologySource } from '../../lib/machine/source.js';
import { nodeOfPci, readTopology } from '../../lib/machine/topology.js';
import { bind } from '../../lib/placement/policy.js';
import { filesOf, type Machine, machines, sourceOf } from './machine.js';

function named(name: string): Machine {
  const found = machines.find(([each]) => each === name)?.[1];
  if (found === undefined) throw new Error(`no machine ${name}`);
  return found;
}

/** With links that lead somewhere, as sysfs has them. */
function linked(
  files: Readonly<Record<string, string>>,
  links: Readonly<Record<string, string>>,
): TopologySource {
  return { ...sourceOf(files), resolve: path => links[path] ?? path };
}

const small: Machine = {
  source: 'made up',
  sockets: 2,
  nodesPerSocket: 1,
  coresPerNode: 2,
  threadsPerCore: 2,
  coresPerCache: 1,
  gpuNodes: [1],
  memoryOnlyNodes: 1,
};

t.test('a machine is drawn with its nodes, caches, GPUs and network cards', async t => {
  const pci = '/sys/devices/pci0000:40/0000:40:01.0/0000:41:00.0';
  const source = linked(
    {
      ...filesOf(small),
      '/sys/devices/system/node/node0/meminfo': 'Node 0 MemTotal:  67108864 kB\n',
      '/sys/devices/system/node/node1/meminfo': 'Node 1 MemTotal:  2097152 kB\n',
      '/sys/class/infiniband/mlx5_0/node_guid': '',
      '/sys/class/net/ib0/mtu': '',
      '/sys/class/net/lo/mtu': '',
      '/sys/bus/pci/devices/0000:41:00.0/numa_node': '0\n',
    },
    {
      '/sys/class/infiniband/mlx5_0/device': pci,
      '/sys/class/net/ib0/device': pci,
      '/sys/class/net/lo/device': '/sys/class/net/lo/device',
    },
  );

  const workers = [{ localRank: 0, gpu: 'GPU-0', binding: 'CPUs 2-3,6-7' }, { localRank: 1 }];
  const text = topologyText(overviewOf(source), { workers } as never, 'node');

  t.equal(
    text,
    [
      '2 sockets, 3 NUMA nodes; this process may use CPUs 0-7',
      '',
      'socket 0',
      '  node 0  CPUs 0-1,4-5  2 cores × 2 threads  64 GiB',
      '    cache  0,4',
      '    cache  1,5',
      '    mlx5_0  0000:41:00.0',
      'socket 1',
      '  node 1  CPUs 2-3,6-7  2 cores × 2 threads  2.0 GiB',
      '    cache  2,6',
      '    cache  3,7',
      '    GPU 0  0000:10:00.0  GPU-00000000-0000-0000-0000-000000000000',
      'without CPUs of ours',
      '  node 2  no CPUs',
      '',
      'distances',
      '  node  0   1   2',
      '  0     10  32  32',
      '  1     32  10  32',
      '  2     32  32  10',
      '',
      'workers, binding: node',
      '  local rank  GPU    bound to',
      '  0           GPU-0  CPUs 2-3,6-7',
      '  1           -      not bound',
    ].join('\n'),
  );
});

t.test('a device of unknown node is near what its bridge is near', async t => {
  const gpu = '0000:3b:00.0';
  const deep = '/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0';
  const files = {
    ...filesOf({ ...small, gpuNodes: [] }),
    [`/sys/bus/pci/devices/${gpu}/numa_node`]: '-1\n',
    [`${deep}/numa_node`]: '-1\n',
  };
  const links = { [`/sys/bus/pci/devices/${gpu}`]: deep };
  const nodeIn = (more: Record<string, string>): number | undefined => {
    const source = linked({ ...files, ...more }, links);
    return nodeOfPci(source, readTopology(source), gpu);
  };

  t.equal(nodeIn({ '/sys/devices/pci0000:3a/0000:3a:00.0/numa_node': '1\n' }), 1);
  t.equal(nodeIn({ [`/sys/bus/pci/devices/${gpu}/local_cpulist`]: '2-3,6-7\n' }), 1);
  t.equal(nodeIn({ [`/sys/bus/pci/devices/${gpu}/local_cpulist`]: '0-7\n' }), undefined);
  t.equal(nodeIn({}), undefined);
});

t.test('a node without memory takes that of the nearest with CPUs', async t => {
  const files = {
    ...filesOf(small),
    '/sys/devices/system/node/has_memory': '0,2\n',
    '/sys/devices/system/node/node1/distance': '32 10 11\n',
  };
  const topology = readTopology(sourceOf(files));

  const bound = bind(topology, { mode: 'node', memory: 'bind', ranks: 1, gpuNodes: [1] });

  t.match(bound, { bindings: [{ cpus: [2, 3, 6, 7], memory: { mode: 'bind', nodes: [0] } }] });
});

t.test("interleaving leaves out memory that's no CPU's, like a GPU's", async t => {
  const topology = readTopology(sourceOf(filesOf(small)));

  const bound = bind(topology, { mode: 'node', memory: 'interleave', ranks: 1, gpuNodes: [] });

  t.match(bound, { bindings: [{ memory: { mode: 'interleave', nodes: [0, 1] } }] });
});

t.test('offline CPUs are in no list, and nobody gets them', async t => {
  // The kernel takes them out of a node's list and leaves them in the affinity mask.
  const files = {
    ...filesOf(small),
    '/sys/devices/system/node/node0/cpulist': '0,4-5\n',
    '/sys/devices/system/cpu/cpu0/topology/thread_siblings_list': '0,4\n',
    '/sys/devices/system/cpu/cpu5/topology/thread_siblings_list': '5\n',
  };
  const topology = readTopology(sourceOf(files));

  const bound = bind(topology, { mode: 'exclusive', memory: 'none', ranks: 2, gpuNodes: [0] });

  t.same(bound, { bindings: [{ cpus: [0, 4] }, { cpus: [5] }] });
});

t.test('caches of different sizes: the largest is given out first', async t => {
  const files: Record<string, string> = { ...filesOf({ ...small, sockets: 1, coresPerNode: 4 }) };
  for (const [cpus, list] of [
    [[0, 4], '0,4'],
    [[1, 2, 3, 5, 6, 7], '1-3,5-7'],
  ] as const) {
    for (const cpu of cpus)
      files[`/sys/devices/system/cpu/cpu${cpu}/cache/index3/shared_cpu_list`] = `${list}\n`;
  }
  const topology = readTopology(sourceOf(files));

  const bound = bind(topology, { mode: 'core-complex', memory: 'none', ranks: 3, gpuNodes: [] });

  t.same(bound, {
    bindings: [{ cpus: [1, 2, 3, 5, 6, 7] }, { cpus: [0, 4] }, { cpus: [1, 2, 3, 5, 6, 7] }],
  });
});

t.test('1,024 CPUs on 16 nodes: each rank has its share', async t => {
  const huge = { ...small, sockets: 4, nodesPerSocket: 4, coresPerNode: 32, gpuNodes: [] };
  const source = sourceOf(filesOf({ ...huge, memoryOnlyNodes: 0, coresPerCache: 8 }));

  const bound = bind(readTopology(source), {
    mode: 'exclusive',
    memory: 'bind',
    ranks: 512,
    gpuNodes: [],
  });

  if (!('bindings' in bound)) throw new Error(bound.impossible);
  t.equal(bound.bindings.length, 512);
  t.equal(new Set(bound.bindings.flatMap(({ cpus }) => cpus)).size, 1024);
  t.ok(bound.bindings.every(({ cpus }) => cpus.length === 2));
});

t.test('pain 20: on Grace Hopper no worker takes the memory of its GPU', async t => {
  const topology = readTopology(sourceOf(filesOf(named('grace-hopper'))));

  const bound = bind(topology, { mode: 'auto', memory: 'interleave', ranks: 1, gpuNodes: [0] });

  t.notMatch(bound, { bindings: [{ memory: { nodes: [1] } }] });
});
