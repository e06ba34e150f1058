import t from 'tap';
import { inMachine, missing, partOf } from './machine.js';

/** Limits by cgroups of version 2, where this machine may have version 1 only. */
const skip = missing();

t.test('limits of workers, by version 2', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '1', '--cpus', '2', '--mem', '1024', '--timeout', '300'],
    `exec 2>&1
     cd /sys/fs/cgroup; echo +cpu > cgroup.subtree_control
     shared=$(cat cgroup.subtree_control)
     # What a worker tells of its own cgroup.
     cat > /tmp/tell <<'TELL'
own=$(sed s/0::// /proc/self/cgroup); echo "worker \${own%/regroup-*}/\${own##*/}"
cd /sys/fs/cgroup$own; echo "limits $(cat memory.high memory.max memory.oom.group pids.max cpu.max | tr '\\n' ' ')"
TELL
     # Whether all is as it was, in the cgroup and above.
     left() {
       echo "left $(ls -d regroup-* job/regroup-* 2>/dev/null | wc -l) cgroups, shared [$(cat job/cgroup.subtree_control)]"
       [ "$(cat cgroup.subtree_control)" = "$shared" ] || echo "the root shares $(cat cgroup.subtree_control)"
     }
     mkdir job
     cat > /bin/job <<'JOB'
#!/bin/sh
echo $$ > /sys/fs/cgroup/job/cgroup.procs
exec regroup --standalone --no-python "$@"
JOB
     chmod +x /bin/job
     export OMP_NUM_THREADS=1
     limits="--memory-high=100M --memory-max=200M --pids-max=50 --cpu-quota=0.5"

     echo "=== delegated"
     job $limits --nproc-per-node=2 sh /tmp/tell; left

     echo "=== root"
     regroup --standalone --no-python $limits sh /tmp/tell; left

     echo "=== joins"
     REGROUP_DISABLE=clone-into-cgroup job $limits sh /tmp/tell; left

     echo "=== restarts"
     job --max-restarts=1 --memory-max=200M sh -c 'sh /tmp/tell; exit $((1 - REGROUP_ROUND))'; left

     echo "=== memory"
     job --nproc-per-node=2 --memory-max=200M sh -c '[ $RANK = 1 ] && sleep 4001; exec where hog 400 true'
     echo "code $?"; left

     echo "=== whole worker"
     job --memory-max=200M sh -c 'sleep 4002 & where hog 400 true; sleep 4002'
     echo "code $?, $(ps | grep -c '[s]leep 4002') left"

     echo "=== pids"
     job --pids-max=10 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 4003 & done; exit 3'; left

     echo "=== time"
     job --cpu-quota=0.5 sh /tmp/tell; left

     echo "=== killed"
     job $limits sh -c 'env -i /bin/setsid /bin/sleep 4004 & exec sleep 4004' & agent=$!
     while [ $(ps | grep -c '[s]leep 4004') -lt 2 ]; do sleep 0.1; done
     echo "moved to $(sed 's/0:://; s/-[0-9]*$//' /proc/$agent/cgroup)"
     kill -9 $agent; wait $agent
     while [ $(ps | grep -c '[s]leep 4004') -gt 0 ] || ls -d job/regroup-* >/dev/null 2>&1; do sleep 0.1; done
     left

     echo "=== user"
     echo 'user:x:1000:1000::/:/bin/sh' > /etc/passwd
     chown 1000:1000 job job/cgroup.procs job/cgroup.subtree_control; chmod 777 /tmp
     sh -c 'echo $$ > job/cgroup.procs; exec su user -c "regroup --standalone --no-python --memory-max=200M sh /tmp/tell"'
     left

     echo "=== others"
     sh -c 'sleep 4005 & echo $! > job/cgroup.procs; echo $! > /tmp/other; job --memory-max=200M sh /tmp/tell'; left
     echo "still in $(sed s/0::// /proc/$(cat /tmp/other)/cgroup)"; kill $(cat /tmp/other)

     echo "=== others, killed"
     echo 'sleep 4006 & echo $! > /tmp/other; regroup --standalone --no-python --memory-max=200M sh /tmp/worker' > /tmp/job.sh
     echo 'exec sleep 4007' > /tmp/worker
     sh -c 'echo $$ > job/cgroup.procs; exec sh /tmp/job.sh' &
     while [ $(ps | grep -c '[s]leep 4007') -lt 1 ]; do sleep 0.1; done
     sed 's/0:://; s/-[0-9]*$//' /proc/$(cat /tmp/other)/cgroup
     kill -9 $(pidof node)
     while [ $(ps | grep -c '[s]leep 4007') -gt 0 ] || ls -d job/regroup-* >/dev/null 2>&1; do sleep 0.1; done
     left; echo "still in $(sed s/0::// /proc/$(cat /tmp/other)/cgroup)"; kill $(cat /tmp/other)

     echo "=== two at once"
     cat > /tmp/two.mjs <<'TWO'
import { launch } from '/case/regroup/dist/index.js';
const options = { memoryMax: 2e8, logDir: '/dev/null' };
const start = seconds => launch({ ...options, entrypoint: { program: 'sh' }, args: ['-c', \`sh /tmp/tell; sleep \${seconds}\`] });
const [short, long] = [await start(1), await start(2)];
console.log((await short.result).outcome);
console.log((await long.result).outcome);
process.kill(process.pid, 'SIGSTOP');
TWO
     sh -c 'echo $$ > job/cgroup.procs; exec node /tmp/two.mjs' & node=$!
     while [ "$(cut -d' ' -f3 /proc/$node/stat)" != T ]; do sleep 0.1; done
     left; echo "back in $(sed s/0::// /proc/$node/cgroup)"; kill -9 $node; wait $node

     echo "=== another namespace"
     sh -c 'echo $$ > job/cgroup.procs; unshare -p -f --mount-proc regroup --standalone --no-python --memory-max=200M sh /tmp/tell'; left

     echo "=== nothing delegated"
     mount -o remount,ro cgroup /sys/fs/cgroup
     regroup --standalone --no-python --memory-max=200M sh /tmp/tell; echo "code $?"`,
  );

  t.equal(ended.code, 0, ended.stderr);
  const part = (name: string): string => partOf(ended, name);
  const limits = 'limits 104857600 209715200 1 50 50000 100000 \n';
  const clean = 'left 0 cgroups, shared []\n';
  const delegated = part('delegated').split(/(?<=\n)/);
  t.same(delegated.sort(), [
    clean,
    limits,
    limits,
    'worker /job/worker-0\n',
    'worker /job/worker-1\n',
  ]);
  t.equal(part('root'), `worker /worker-0\n${limits}${clean}`);
  t.equal(part('joins'), `worker /job/worker-0\n${limits}${clean}`);

  const restarts = part('restarts');
  t.equal(restarts.split('worker /job/worker-0\n').length, 3, restarts);
  t.match(restarts, clean);

  const memory = part('memory');
  t.match(
    memory,
    /worker 0: host memory: out of memory, peak (19\d|200) MiB of its own limit 200 MiB/,
    'pain 14',
  );
  t.match(memory, /; memory pressure [\d.]+ % of the last 10 s/);
  t.match(memory, `code 1\n${clean}`);
  t.match(part('whole worker'), /its own limit 200 MiB[\s\S]*\ncode 1, 0 left\n/);
  t.match(
    part('pids'),
    /worker 0: its limit of 10 processes and threads was in the way (once|\d+ times)\n/,
  );
  t.match(part('pids'), clean);

  t.match(part('time'), /^limits [\s\S]*50000 100000/m);
  t.match(part('time'), clean);

  t.equal(part('killed'), `moved to /job/regroup-agent\nKilled\n${clean}`);
  t.match(part('user'), /^worker \/job\/worker-0\n[\s\S]*limits max 209715200 1 /);
  t.match(part('user'), clean);

  const others = part('others');
  t.match(others, /^worker \/job\/worker-0\n[\s\S]*limits max 209715200 1 /);
  t.match(others, `${clean}still in /job\n`);
  const killed = part('others, killed');
  t.match(killed, /^\/job\/regroup-agent\n/);
  t.match(killed, `${clean}still in /job\n`);
  const two = part('two at once');
  t.equal(two.split('worker /job/worker-0\n').length, 3, two);
  t.match(two, `succeeded\nsucceeded\n${clean}back in /job\n`);
  const namespace = part('another namespace');
  t.match(namespace, /cgroup \S+\/job\/cgroup.procs: .*busy/i);
  t.match(namespace, /others in that cgroup can't be moved: start regroup as root, in a cgroup/);
  t.match(namespace, clean);
  const none = part('nothing delegated');
  t.match(none, /worker 0 could not start: cgroup \/sys\/fs\/cgroup\/regroup-\S+: read-only/);
  t.match(none, /^code 1$/m);
});
