import { constants } from 'node:os';
import t from 'tap';
import type { NativeStep } from '../../lib/native/events.js';
import type { NativePlan } from '../../lib/native/plan.js';
import { startError, startHangs } from '../../lib/workers/start-error.js';

const { EACCES, EAGAIN, EBUSY, EINVAL, ENOENT, ENOSYS, ENOTSUP, EPERM, EROFS, ETIMEDOUT } =
  constants.errno;

const plan: NativePlan = {
  file: '/usr/bin/python3',
  argv: ['python3'],
  env: [],
  stdin: 'null',
  stdout: { to: 'null' },
  stderr: { to: 'null' },
};

interface Case {
  id?: string;
  step: NativeStep;
  errno: number;
  message: RegExp;
  detail?: string;
  plan?: Partial<NativePlan>;
}

const cases: readonly Case[] = [
  { step: 'exec', errno: ENOENT, message: /^\[Errno 2\] No such file or directory: '.*python3'$/ },
  {
    id: 'F-F18',
    step: 'exec',
    errno: ENOENT,
    detail: '/crlf.sh',
    message:
      /^\[Errno 2\] No such file or directory: '\/crlf.sh'; it is there, but "\/bin\/sh\\r", which its first line names, is not: the file has Windows line endings$/,
  },
  {
    step: 'exec',
    errno: ENOENT,
    detail: './crlf.sh',
    plan: { cwd: '/job/.' },
    message: /'.\/crlf.sh'$/,
  },
  {
    id: 'F-F18',
    step: 'exec',
    errno: ENOENT,
    detail: 'crlf.sh',
    plan: { cwd: '/job' },
    message: /'crlf.sh'; .* "\/usr\/bin\/env\\r", .* Windows line endings$/,
  },
  {
    id: 'F-F18',
    step: 'exec',
    errno: ENOENT,
    detail: '/old.py',
    message:
      /'\/old.py'; it is there, but "\/usr\/bin\/python2", which its first line names, is not$/,
  },
  {
    id: 'F-F18',
    step: 'exec',
    errno: ENOENT,
    detail: '/musl',
    message: /'\/musl'; it is there, but the loader that it was built for is not$/,
  },
  { step: 'exec', errno: EACCES, detail: '/x', message: /^worker 0 .*: exec \/x: .*executable/ },
  {
    step: 'output',
    errno: ETIMEDOUT,
    detail: '/nfs/stdout.log',
    message: /: output \/nfs\/stdout\.log: it could not be opened within 30 s; its disk may not/,
  },
  { step: 'spawn', errno: EAGAIN, message: /: spawn: .*ulimit -u/ },
  {
    step: 'affinity',
    errno: EINVAL,
    plan: { cpus: [40, 41] },
    message: /: affinity of CPUs 40,41: invalid argument; none of them is ours: Cpus_allowed_list/,
  },
  {
    step: 'memory',
    errno: EINVAL,
    plan: { memoryPolicy: { mode: 'bind', nodes: [9] } },
    message: /: memory bind 9: invalid argument; none of these nodes is ours: Mems_allowed_list/,
  },
  {
    step: 'memory',
    errno: EPERM,
    plan: { memoryPolicy: { mode: 'local', nodes: [] } },
    message: /: memory local: operation not permitted; the container's seccomp filter/,
  },
  {
    step: 'memory',
    errno: ENOSYS,
    plan: { memoryPolicy: { mode: 'preferred', nodes: [0, 1] } },
    message: /: memory preferred 0,1: .*without NUMA/,
  },
  {
    step: 'rlimits',
    errno: EPERM,
    detail: 'nofile=500, where the hard limit is 400',
    message: /: rlimits nofile=500, where the hard limit is 400: .* only CAP_SYS_RESOURCE/,
  },
  {
    step: 'rlimits',
    errno: EINVAL,
    detail: 'nofile=500, where the hard limit is 400',
    message: /limit is 400: invalid argument; a soft limit must not be above/,
  },
  { step: 'nice', errno: EACCES, plan: { nice: -5 }, message: /: nice -5: .*CAP_SYS_NICE/ },
  {
    step: 'ionice',
    errno: EPERM,
    plan: { ioPriority: (1 << 13) | 3 },
    message: /: ionice class 1, level 3: .*realtime takes/,
  },
  {
    step: 'cgroup',
    errno: EROFS,
    detail: '/sys/fs/cgroup/regroup-x',
    message:
      /: cgroup \/sys\/fs\/cgroup\/regroup-x: read-only file system; start regroup as root, in/,
  },
  {
    step: 'cgroup',
    errno: EBUSY,
    detail: '/c/cgroup.procs',
    message: /: cgroup \/c\/cgroup.procs: .*; others in that cgroup can't be moved: start regroup/,
  },
  {
    id: 'F-F18',
    step: 'cgroup',
    errno: ENOTSUP,
    detail: '/c/memory.high',
    // F-F18: libuv would say "operation not supported on socket".
    message:
      /: cgroup \/c\/memory.high: operation not supported; cgroups of version 1 have no such limit: take --memory-max/,
  },
  { step: 'cgroup', errno: ENOENT, message: /: cgroup controller x: there is none here; start/ },
  {
    step: 'oom-score-adj',
    errno: EACCES,
    plan: { oomScoreAdj: -1000 },
    message: /: oom-score-adj -1000: permission denied; less than our own takes CAP_SYS_RESOURCE/,
  },
];

const files: Record<string, string> = {
  '/crlf.sh': '#!/bin/sh\r',
  '/job/crlf.sh': '#! /usr/bin/env\r',
  '/old.py': '#!/usr/bin/python2 -u',
  '/musl': '\x7fELF',
};

for (const { id, step, errno, detail = '', message, plan: more } of cases) {
  t.test(
    `${id === undefined ? '' : `${id}: `}a start that fails with errno ${errno} at ${step} says ${message.source}`,
    async t => {
      const error = startError(
        { event: 'start-failed', group: 1, atMs: 0, index: 0, step, syscall: 'x', errno, detail },
        {
          group: 1,
          cookie: '',
          plans: [{ ...plan, ...more }],
          tailBytes: 0,
          drainMs: 0,
          tidyUp: { graceMs: 0, leaveDetached: false, lingering: [], devices: '/dev' },
        },
        path => files[path],
      );

      t.match(error.message, message);
      t.match(error, { errno, syscall: 'x' });
    },
  );
}

t.test('F-N04 a start that hangs is told with its worker, its step and what hangs', async t => {
  const event = { event: 'start-hangs', group: 1, atMs: 0, index: 1, step: 'exec' } as const;

  const child = startHangs({ ...event, detail: '/nfs/python', pid: 4711 });
  const own = startHangs({ ...event, step: 'output', detail: '', pid: 0 });

  t.match(child, {
    code: 'ERR_START_HANGS',
    message:
      /^worker 1 could not start, .*: exec \/nfs\/python .* \(process 4711, deaf to SIGKILL\)/,
  });
  t.match(
    own.message,
    /^worker 1 could not start, .*: output doesn't .* \(the agent's own thread\)/,
  );
});
