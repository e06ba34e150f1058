import t from 'tap';
import { inMachine, missing, partOf } from './machine.js';

/** What this machine's kernel can't show, or not without harm: cgroups of version 2 alone, a dead disk. */
const skip = missing();

const regroup = 'regroup --standalone --no-python';
t.test('cgroups of version 2, and a disk that does not answer', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '1', '--cpus', '2', '--mem', '1024', '--timeout', '300'],
    `exec 2>&1
     cd /sys/fs/cgroup
     echo "=== memory"
     mkdir job; echo $((256 << 20)) > job/memory.max
     sh -c 'echo $$ > job/cgroup.procs
       exec ${regroup} --nproc-per-node=2 sh -c "[ \\$RANK = 0 ] && exec where hog 400 true; exec sleep 4001"'
     echo "code $?, $(ps | grep -c '[s]leep 4001') left, $(ls -d regroup-* job/regroup-* 2>/dev/null | wc -l) cgroups"

     echo "=== daemons"
     ${regroup} sh -c 'env -i /bin/setsid /bin/sleep 4002 & sleep 1; exit 3'
     echo "code $?, $(ps | grep -c '[s]leep 4002') left, $(ls -d regroup-* 2>/dev/null | wc -l) cgroups"

     echo "=== guardian"
     ${regroup} sh -c 'env -i /bin/setsid /bin/sleep 4003 & exec sleep 4003' & agent=$!
     while [ $(ps | grep -c '[s]leep 4003') -lt 2 ]; do sleep 0.1; done
     kill -9 $agent; wait $agent
     while [ $(ps | grep -c '[s]leep 4003') -gt 0 ] || ls -d regroup-* >/dev/null 2>&1; do sleep 0.1; done
     echo "nobody is left"

     echo "=== disk"
     insmod /lib/loop.ko; mkdir -p /disk
     dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>/dev/null
     losetup /dev/loop0 /tmp/disk; mke2fs /dev/loop0 > /dev/null; mount -t ext2 /dev/loop0 /disk
     fsfreeze --freeze /disk
     ${regroup} --shutdown-timeout=1 --nproc-per-node=2 sh -c '[ $RANK = 0 ] && echo > /disk/file; exec sleep 4004' & agent=$!
     while ! grep -qs '^State:.D' /proc/[0-9]*/status; do sleep 0.1; done
     kill -TERM $agent; wait $agent; echo "code $?"
     fsfreeze --unfreeze /disk
     while [ $(ps | grep -c '[s]leep 4004') -gt 0 ]; do sleep 0.1; done`,
  );

  t.equal(ended.code, 0, ended.stderr);
  const part = (name: string): string => partOf(ended, name);
  const memory = part('memory');
  t.match(
    memory,
    /worker 0: host memory: out of memory, peak 25\d MiB of limit 256 MiB/,
    'pain 14',
  );
  t.match(memory, /; memory pressure [\d.]+ % of the last 10 s/);
  t.match(memory, /^code 1, 0 left, 0 cgroups$/m);
  t.match(part('daemons'), /^code 1, 0 left, 0 cgroups$/m, 'pain 1');
  t.match(part('guardian'), /^nobody is left$/m, 'pain 1');
  const disk = part('disk');
  t.match(disk, /worker 0 .* can't be killed: it's stuck in the kernel in state D/, 'pain 11');
  t.match(disk, /^ {2}thread \d+ \(sh\):\n {2}\[<0>\] /m);
  t.match(disk, /^code 83$/m);
});
