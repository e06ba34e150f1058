import t from 'tap';
import { inMachine, linesOf, missing, pagesOf } from './machine.js';

/** Kernels with several NUMA nodes: real workers tell where they run, and where their pages are. */
const skip = missing();

const starts = 'regroup --standalone --nproc-per-node';
const mebibyte = 256; // pages

function gpu(pci: string, uuid: string): Readonly<Record<string, string>> {
  return {
    [`driver/nvidia/gpus/${pci}/information`]: `Model: \t\t NVIDIA\nGPU UUID: \t ${uuid}\n`,
  };
}

t.test('pain 19: two nodes, a GPU at each, in the other order', { skip }, async t => {
  // QEMU's display devices, which a driver of ours calls NVIDIA's.
  const files = { ...gpu('0000:21:00.0', 'GPU-aa'), ...gpu('0000:31:00.0', 'GPU-bb') };
  const ended = await inMachine(
    t,
    ['--nodes', '2', '--cpus', '4', '--gpus', '1,0'],
    `mount --bind driver /proc/driver
     regroup topology --nproc-per-node=2
     ${starts}=2 --bind=auto --gpu-per-rank --no-python where auto 8
     ${starts}=2 --numa-binding=node --numa-memory=none --no-python where none 8
     ${starts}=4 --numa-binding=exclusive --numa-memory=bind --no-python where exclusive 8
     ${starts}=1 --bind=0:0-1 --numa-memory=interleave --no-python where turns 8
     CUDA_VISIBLE_DEVICES=GPU-bb ${starts}=1 --numa-binding=socket --no-python where second 8`,
    { files },
  );

  t.match(ended, { code: 0 });
  t.match(ended.stdout, /node 1 {2}CPUs 2-3[\s\S]*GPU 0 {2}0000:21:00.0 {2}GPU-aa/);
  t.match(ended.stdout, /^ {2}0 +GPU-aa +CPUs 2-3, memory preferred on node 1$/m);
  t.match(linesOf(ended, 'auto'), [
    'auto rank=0 cpus=2-3 memory=preferred:1 pages=1:2048',
    'auto rank=1 cpus=0-1 memory=preferred:0 pages=0:2048',
  ]);
  t.match(linesOf(ended, 'none'), [
    'none rank=0 cpus=2-3 memory=default',
    'none rank=1 cpus=0-1 memory=default',
  ]);
  t.match(linesOf(ended, 'exclusive'), [
    'exclusive rank=0 cpus=2 memory=bind:1 pages=1:2048',
    'exclusive rank=1 cpus=0 memory=bind:0 pages=0:2048',
    'exclusive rank=2 cpus=3 memory=bind:1 pages=1:2048',
    'exclusive rank=3 cpus=1 memory=bind:0 pages=0:2048',
  ]);
  t.match(linesOf(ended, 'turns'), ['turns rank=0 cpus=0-1 memory=interleave:0,1']);
  const turns = pagesOf(linesOf(ended, 'turns')[0]);
  t.ok(Math.abs((turns[0] ?? 0) - (turns[1] ?? 0)) < mebibyte, 'half of it on each');
  t.match(linesOf(ended, 'second'), ['second rank=0 cpus=0-1 memory=preferred:0 pages=0:2048']);
});

t.test('under memory pressure a bound worker stays on its node', { skip }, async t => {
  const run = `${starts}=1 --bind=0:2-3 --no-python`;
  const ended = await inMachine(
    t,
    ['--nodes', '2', '--cpus', '4'],
    // What fills the node can be had by whoever insists on it, as a page cache can.
    `free=$(awk '/MemFree/ { print int($4 / 1024) }' /sys/devices/system/node/node1/meminfo)
     cat > pressed.sh <<END
       ${run.replace('--no-python', '--numa-memory=none --no-python')} where cpus 128
       ${run.replace('--no-python', '--numa-memory=bind --no-python')} where bound 128
END
     regroup --standalone --bind=0:2-3 --numa-memory=bind --no-python where hog 1 true
     taskset c where hog $((free - 48)) 'taskset f sh pressed.sh'`,
  );

  t.match(ended, { code: 0 });
  const cpus = pagesOf(linesOf(ended, 'cpus')[0]);
  t.ok((cpus[0] ?? 0) > 16 * mebibyte, 'with CPUs alone, as torchrun binds, memory goes elsewhere');
  t.same(pagesOf(linesOf(ended, 'bound')[0]), { 1: 128 * mebibyte });
});

t.test('four nodes with hyperthreads, one without memory', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '4', '--cpus', '16', '--threads', '2', '--mem', '512,256,0,256'],
    `regroup topology --json --nproc-per-node=4 --bind=auto
     echo
     ${starts}=4 --bind=auto --threads-per-core=1 --no-python where first 4
     ${starts}=4 --bind=auto --reserve-cores=4 --omp-places --no-python where kept 4
     ${starts}=2 --numa-binding=core-complex --no-python where caches 4`,
  );

  t.match(ended, { code: 0 });
  const [json = '{}'] = /^\{[\s\S]*?^\}/m.exec(ended.stdout) ?? [];
  t.match(JSON.parse(json), {
    nodes: [0, 1, 2, 3].map(node => ({ node, cores: 2, threadsPerCore: 2 })),
  });
  t.match(linesOf(ended, 'first'), [
    /cpus=0,2 memory=preferred:0 pages=0:/,
    /cpus=4,6 memory=preferred:1 pages=1:/,
    /cpus=8,10 memory=preferred:3 pages=3:/,
    /cpus=12,14 memory=preferred:3 pages=3:/,
  ]);
  t.match(
    linesOf(ended, 'kept').map(line => line.replace(/ memory.*/, '')),
    ['rank=0 cpus=2-3', 'rank=1 cpus=6-7', 'rank=2 cpus=10-11', 'rank=3 cpus=14-15'].map(
      text => `kept ${text}`,
    ),
  );
  t.equal(linesOf(ended, 'caches').length, 2);
});

t.test('eight nodes, eight workers, a node each; and cpusets', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '8', '--cpus', '8', '--mem', '256'],
    `${starts}=8 --bind=auto --no-python where each 2
     mkdir /sys/fs/cgroup/some
     echo 4-7 > /sys/fs/cgroup/some/cpuset.cpus
     echo 4-5 > /sys/fs/cgroup/some/cpuset.mems
     echo $$ > /sys/fs/cgroup/some/cgroup.procs
     ${starts}=4 --bind=auto --numa-memory=bind --no-python where some 2
     echo 6-7 > /sys/fs/cgroup/some/cpuset.cpus
     ${starts}=1 --bind=0:4 --no-python where foreign 2`,
  );

  t.match(
    linesOf(ended, 'each'),
    [0, 1, 2, 3, 4, 5, 6, 7].map(
      node => `each rank=${node} cpus=${node} memory=preferred:${node} pages=${node}:512`,
    ),
  );
  t.match(linesOf(ended, 'some'), [
    /rank=0 cpus=4 memory=bind:4 pages=4:512/,
    /rank=1 cpus=5 memory=bind:5 pages=5:512/,
    /rank=2 cpus=6 memory=bind:[45] pages=[45]:512/,
    /rank=3 cpus=7 memory=bind:[45] pages=[45]:512/,
  ]);
  t.same(linesOf(ended, 'foreign'), []);
  t.match(ended.stdout + ended.stderr, /CPUs 4 are not among those that this process may use/);
});

t.test('one node: auto binds nothing', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '1', '--cpus', '2'],
    `${starts}=2 --bind=auto --no-python where free 2`,
  );

  t.match(linesOf(ended, 'free'), [/cpus=0-1 memory=default/, /cpus=0-1 memory=default/]);
});
