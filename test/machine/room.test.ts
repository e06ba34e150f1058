import t from 'tap';
import { pressureFiles, whyNoRoom } from '../../lib/machine/room.js';

const reader = (files: Readonly<Record<string, string>>) => async (path: string) => files[path];

const v2 = {
  '/proc/self/cgroup': '0::/job/pod\n',
  '/proc/self/mountinfo': '30 24 0:26 / /cg rw - cgroup2 cgroup2 rw\n',
  '/cg/job/pod/memory.current': '900000000\n',
  '/cg/job/pod/memory.stat':
    'anon 1\ninactive_file 100000000\nactive_file 150000000\nslab_reclaimable 50000000\nslab 70000000\n',
  '/cg/job/pod/memory.max': 'max\n',
  '/cg/job/pod/memory.high': 'max\n',
  '/cg/job/pod/pids.max': '100\n',
  '/cg/job/pod/pids.current': '80\n',
  '/cg/job/memory.current': '900000000\n',
  '/cg/job/memory.max': 'max\n',
  '/proc/meminfo': 'MemTotal: 8000000 kB\nMemAvailable:    1000000 kB\n',
};
const v1 = {
  '/proc/self/cgroup': '4:memory:/job\n3:pids:/job\n0::/\n',
  '/proc/self/mountinfo': [
    '40 24 0:30 /job /m rw - cgroup cgroup rw,memory',
    '41 24 0:31 / /p rw - cgroup cgroup rw,pids',
    '30 24 0:26 / /cg rw - cgroup2 cgroup2 rw',
  ].join('\n'),
  '/m/memory.usage_in_bytes': '900000000\n',
  '/m/memory.stat': 'inactive_file 1\ntotal_inactive_file 60000000\ntotal_active_file 40000000\n',
  '/m/memory.limit_in_bytes': '1000000000\n',
  '/p/job/pids.max': 'max\n',
  '/p/job/pids.current': '80\n',
};
const need = { bytes: 200e6, tasks: 20 };

const cases: readonly [title: string, files: Record<string, string>, why: string | undefined][] = [
  ['no limit', v2, undefined],
  [
    'a limit that is far, since a cache of files counts as free',
    { ...v2, '/cg/job/pod/memory.max': '900000000' },
    undefined,
  ],
  [
    'memory.max that is near',
    { ...v2, '/cg/job/pod/memory.max': '840000000' },
    '600 MB are taken of 840 MB in /cg/job/pod/memory.max',
  ],
  [
    'memory.high that is near',
    { ...v2, '/cg/job/pod/memory.high': '700000000' },
    '600 MB are taken of 700 MB in /cg/job/pod/memory.high',
  ],
  [
    'a limit of a cgroup above',
    { ...v2, '/cg/job/memory.max': '1100000000' },
    '900 MB are taken of 1100 MB in /cg/job/memory.max',
  ],
  [
    'pids.max that is near',
    { ...v2, '/cg/job/pod/pids.max': '99' },
    'there are 80 processes and threads of 99 in /cg/job/pod/pids.max',
  ],
  [
    'a machine that is full',
    { ...v2, '/proc/meminfo': 'MemAvailable:    100000 kB\n' },
    '102 MB of memory are left',
  ],
  [
    'a limit of version 1, in a container',
    v1,
    '800 MB are taken of 1000 MB in /m/memory.limit_in_bytes',
  ],
  [
    'one of its processes',
    { ...v1, '/m/memory.limit_in_bytes': '9223372036854771712', '/p/job/pids.max': '90' },
    'there are 80 processes and threads of 90 in /p/job/pids.max',
  ],
  ['a machine that shows nothing', {}, undefined],
];

for (const [title, files, why] of cases) {
  t.test(`room beside ${title}`, async t => {
    t.equal(await whyNoRoom(need, reader(files)), why);
  });
}

t.test('pressure is told of our cgroup of version 2, and of the machine', async t => {
  const machine = '/proc/pressure/memory';
  t.strictSame(await pressureFiles(reader(v2)), ['/cg/job/pod/memory.pressure', machine]);
  t.strictSame(await pressureFiles(reader(v1)), [machine]);
});
