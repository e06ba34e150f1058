import { existsSync } from 'node:fs';
import t from 'tap';
import { inMachine, missing, partOf } from './machine.js';

/** A real user manager of systemd, and a scope that it delegates: where users who aren't root have cgroups. */

const manager = '/lib/systemd/systemd';
const skip =
  missing() ||
  (existsSync(manager) ? false : 'needs systemd: apt-get install --no-install-recommends systemd');

t.test('pain 14: a scope of the user manager keeps limits', { skip }, async t => {
  const ended = await inMachine(
    t,
    ['--nodes', '1', '--cpus', '2', '--mem', '1024', '--timeout', '300'],
    `exec 2>&1
     mkdir -p /usr/lib/systemd/user /lib/systemd /run/systemd/system /run/user/1000
     cp units/*.target units/*.slice units/*.service /usr/lib/systemd/user/; mv systemd /lib/systemd/; mv systemd-run /bin/
     echo 'user:x:1000:1000::/tmp:/bin/sh' > /etc/passwd; echo 'user:x:1000:' > /etc/group
     chown 1000 /run/user/1000; chmod 700 /run/user/1000; chmod 777 /tmp
     cd /sys/fs/cgroup; echo +cpu > cgroup.subtree_control
     mkdir user; chown -R 1000 user
     cat > /bin/as-user <<'AS'
#!/bin/sh
# as-user CGROUP COMMAND
echo $$ > /sys/fs/cgroup/user/$1/cgroup.procs
exec su user -c "export XDG_RUNTIME_DIR=/run/user/1000 OMP_NUM_THREADS=1; $2"
AS
     chmod +x /bin/as-user
     as-user . "exec /lib/systemd/systemd --user --unit=basic.target" & manager=$!
     while [ ! -S /run/user/1000/systemd/private ]; do sleep 0.1; done
     mkdir user/login # root's, as a login's is
     cat > /tmp/tell <<'TELL'
own=$(sed s/0::// /proc/self/cgroup); echo "worker $own, limit $(cat /sys/fs/cgroup$own/memory.max)"
[ "$1" = killed ] && exec sleep 4001
exit 0
TELL
     regroup='regroup --standalone --no-python --memory-max=200M'

     echo "=== without"
     as-user login "$regroup sh /tmp/tell"; echo "code $?"

     echo "=== scope"
     as-user login "systemd-run --user --scope --quiet -p Delegate=yes $regroup sh /tmp/tell"; echo "code $?"

     echo "=== memory"
     as-user login "systemd-run --user --scope --quiet -p Delegate=yes $regroup where hog 400 true"; echo "code $?"

     echo "=== killed"
     as-user login "systemd-run --user --scope --quiet -p Delegate=yes $regroup sh /tmp/tell killed" & agent=$!
     while [ $(ps | grep -c '[s]leep 4001') -lt 1 ]; do sleep 0.1; done
     kill -9 $(pidof node)
     while [ $(ps | grep -c '[s]leep 4001') -gt 0 ] || ls -d user/app.slice/*.scope >/dev/null 2>&1; do sleep 0.1; done
     echo "nobody is left, and no scope"
     kill -9 $manager; wait $manager 2>/dev/null; true`,
    {
      copied: {
        systemd: manager,
        'systemd-run': '/usr/bin/systemd-run',
        units: '/usr/lib/systemd/user',
      },
    },
  );

  t.equal(ended.code, 0, ended.stderr);
  const part = (name: string): string => partOf(ended, name);
  t.match(
    part('without'),
    /^regroup: .* cgroup \S+\/login\/regroup-\S+: permission denied; start .*systemd-run --user[\s\S]*\ncode 1\n$/,
  );
  t.match(
    part('scope'),
    /^worker \/user\/app.slice\/run-\w+.scope\/regroup-[^/]+\/worker-0, limit 209715200\ncode 0\n$/,
  );
  t.match(
    part('memory'),
    /worker 0: host memory: out of memory, peak \d+ MiB of its own limit 200/,
  );
  t.match(part('memory'), /^code 1$/m);
  t.match(part('killed'), /^nobody is left, and no scope$/m, 'pain 1');
});
