import t from 'tap';
import { memoryCounters, outOfMemory, outOfOwnMemory } from '../../lib/failures/oom.js';

const files = (entries: Record<string, string>) => async (path: string) => entries[path];

const stateOf = (entries: Record<string, string>) => memoryCounters(files(entries)).state();

const v2 = {
  '/proc/self/cgroup': '0::/kubepods/pod1/c1\n',
  '/proc/self/mountinfo':
    '30 24 0:26 /kubepods/pod1/c1 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n',
  '/sys/fs/cgroup/memory.events': 'low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n',
  '/sys/fs/cgroup/memory.peak': '1073741824\n',
  '/sys/fs/cgroup/memory.max': '1073741824\n',
  '/sys/fs/cgroup/memory.pressure': 'some avg10=42.50 avg60=1.00 avg300=0.00 total=1\n',
  '/proc/vmstat': 'nr_free_pages 1\noom_kill 7\n',
};

const v1 = {
  '/proc/self/cgroup': '4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/\n',
  '/proc/self/mountinfo':
    '31 24 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n' +
    '32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n',
  '/sys/fs/cgroup/memory/docker/a/memory.oom_control':
    'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
  '/sys/fs/cgroup/memory/docker/a/memory.max_usage_in_bytes': '5242880\n',
  '/sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes': '9223372036854771712\n',
  '/proc/vmstat': 'oom_kill 7\n',
};

t.test('the memory cgroup is found by mounts, in containers and on hybrid systems', async t => {
  t.strictSame(await stateOf(v2), {
    killedInMachine: 7,
    killedInCgroup: 1,
    peakBytes: 1 << 30,
    limitBytes: 1 << 30,
    pressure: 42.5,
  });
  t.strictSame(await stateOf(v1), {
    killedInMachine: 7,
    killedInCgroup: 3,
    peakBytes: 5 << 20,
  });
  t.strictSame(await stateOf({}), { killedInMachine: 0 });
});

t.test('an agent that has moved for the sake of limits looks at where it was', async t => {
  const moved = { ...v2, '/proc/self/cgroup': '0::/kubepods/pod1/c1/regroup-agent-12\n' };

  t.strictSame(await stateOf(moved), await stateOf(v2));
});

t.test('pain 14: a limit of its own was met only by one that was near it', async t => {
  const limit = 1 << 30;
  const killed = { oomKills: 1, pidsRefused: 0, peakBytes: limit - 4096, pressure: 12.5 };

  t.equal(
    outOfOwnMemory(killed, limit),
    'host memory: out of memory, peak 1024 MiB of its own limit 1 GiB; memory pressure 12.5 % of the last 10 s',
  );
  t.equal(outOfOwnMemory({ ...killed, oomKills: 0 }, limit), undefined);
  t.equal(outOfOwnMemory({ ...killed, peakBytes: limit / 2 }, limit), undefined);
  t.equal(
    outOfOwnMemory({ oomKills: 2, pidsRefused: 0 }, limit),
    'host memory: out of memory of its own limit 1 GiB',
  );
});

t.test('pain 14: only a counter that has grown is lack of memory', async t => {
  const now = await stateOf(v2);

  t.equal(outOfMemory(now, now), undefined);
  t.equal(
    outOfMemory({ ...now, killedInCgroup: 0 }, now),
    'host memory: out of memory, peak 1 GiB of limit 1 GiB, which all workers here share; memory pressure 42.5 % of the last 10 s',
  );
  t.match(
    outOfMemory({ ...now, killedInMachine: 6 }, now),
    /^host memory: this machine ran out of memory/,
  );
});
