import t from 'tap';
import { logLevels } from '../../../lib/cli/line/settings.js';
import { createPrinter, type Printer, type PrinterOptions } from '../../../lib/cli/text/print.js';
import { launchBanner, logLines } from '../../../lib/cli/text/torchrun-text.js';
import type { AgentEvent, WorkerExit, WorkerFailure } from '../../../lib/events.js';

const log = '1124 05:38:29.359000 77 regroup] ';
const now = new Date(2026, 10, 24, 5, 38, 29, 359);
const segv: WorkerExit = {
  how: 'signaled',
  signal: 'SIGSEGV',
  signalNumber: 11,
  coreDumped: false,
};
const term: WorkerExit = {
  how: 'signaled',
  signal: 'SIGTERM',
  signalNumber: 15,
  coreDumped: false,
};
const kill: WorkerExit = { how: 'signaled', signal: 'SIGKILL', signalNumber: 9, coreDumped: false };
const fine: WorkerExit = { how: 'exited', code: 0 };

const failure: WorkerFailure = {
  rank: 1,
  localRank: 1,
  pid: 101,
  exit: { how: 'exited', code: 7 },
  exitcode: 7,
  cause: 'own',
  duringStop: false,
  durationMs: 85,
  message: 'boom',
  traceback: 'boom',
  timestamp: 1_795_349_028,
  host: 'localhost',
  tail: 'Traceback\nValueError: boom\n',
};

t.test('F-H11: lines have the local time, as the C library has it', t => {
  const zone = process.env.TZ;
  t.teardown(() => {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  });
  process.env.TZ = '<+0530>-5:30';

  const line = logLines('WARNING', 'text', new Date(Date.UTC(2026, 10, 24, 20, 8, 29, 359)), 77);

  t.equal(line, 'W1125 01:38:29.359000 77 regroup] text\n');
  t.end();
});

t.test('L-034: the OMP warning has the exact text of torchrun, once, for several workers', t => {
  const { printer, text } = printing({ ompIsUnset: true });

  printer.event(started(2));
  printer.event(started(2, 1));

  const stars = '*****************************************';
  const warning =
    'Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid ' +
    'your system being overloaded, please further tune the variable for optimal performance in ' +
    'your application as needed. ';
  t.equal(text(), ['', stars, warning, stars].map(line => `W${log}${line}\n`).join(''));
  t.end();
});

t.test('F-F15 a worker that nobody answers is named in one line, with the option that helps', t => {
  const { printer, text } = printing({});

  const worker = { rank: 1, localRank: 1, pid: 101 };
  printer.event({ event: 'connect-refused', worker, address: '127.0.0.1:29777', atMs: 0 });

  t.equal(
    text(),
    `W${log}worker 1 (local 1, pid 101) keeps connecting to 127.0.0.1:29777, where nobody listens; if rank 0 is to serve a store there (init_method='tcp://…'), start with --agent-store=off\n`,
  );
  t.end();
});

t.test('L-035: there is no OMP warning for one worker, or if the variable is set', t => {
  const one = printing({ ompIsUnset: true });
  const set = printing({ ompIsUnset: false });

  one.printer.event(started(1));
  set.printer.event(started(2));

  t.equal(one.text() + set.text(), '');
  t.end();
});

t.test('what a hook writes bears its name, whatever the level, and its failure is a warning', t => {
  const { printer, text } = printing({ logLevel: logLevels.WARNING });

  printer.event({ event: 'hook-output', hook: 'pre-stop', line: 'saved', atMs: 0 });
  printer.event({
    event: 'hook-failed',
    hook: 'pre-stop',
    round: 2,
    reason: 'exited with code 3',
    atMs: 0,
  });

  t.equal(text(), `pre-stop: saved\nW${log}the pre-stop hook of round 2 exited with code 3\n`);
  t.end();
});

t.test('a failure is told at once, with what it leads to', t => {
  const { printer, text } = printing({ maxRestarts: 3 });

  printer.event(started(4));
  printer.event(exited(3, segv, 12_400));
  printer.event(stopping('SIGTERM'));
  printer.event(exited(0, term, 12_500, true));

  t.equal(
    text(),
    'regroup: worker 3 (local 3) was killed by SIGSEGV after 12.4 s; restarting, 2 of 3 restarts left\n' +
      [100, 101, 102].map(pid => `W${log}Sending process ${pid} closing signal SIGTERM\n`).join(''),
  );
  t.end();
});

t.test('only the first failure of a round has a headline', t => {
  const { printer, text } = printing({ maxRestarts: 1 });

  printer.event(started(3, 1));
  printer.event(exited(2, { how: 'exited', code: 7 }, 85));
  printer.event(exited(1, segv, 90));

  t.equal(
    text(),
    'regroup: worker 2 (local 2) exited with code 7 after 85 ms; no restarts left, the job ends\n',
  );
  t.end();
});

t.test('F-U1: a root cause that the headline did not name is named when it is known', t => {
  const { printer, text } = printing({ maxRestarts: 1 });
  const recorded = 'Traceback\nValueError: boom\n';
  const failures = [
    { ...failure, recorded },
    { ...failure, rank: 2, localRank: 2 },
  ];

  printer.event(started(3));
  printer.event(exited(2, segv, 85));
  printer.event({
    event: 'restarting',
    failure: { ...failure, recorded },
    failures,
    restartsLeft: 0,
    maxRestarts: 1,
    delayMs: 0,
    atMs: 0,
  });
  printer.event(started(3, 1));
  printer.event(exited(0, segv, 85));
  printer.failed({ name: 'a.py', binary: 'python3' }, failure, failures, 1);

  const lines = text().split('\n');
  t.match(lines[0], /^regroup: worker 2 /);
  t.equal(lines[1], 'regroup: the root cause is worker 1 (local 1): ValueError: boom');
  t.match(lines[2], /^regroup: worker 0 /);
  t.equal(lines[3], 'regroup: the root cause is worker 1 (local 1): it exited with code 7');
  t.end();
});

t.test('without restarts the headline says which option would give some', t => {
  const { printer, text } = printing({});

  printer.event(started(1));
  printer.event(exited(0, segv, 85));

  t.match(text(), /; the job ends \(--max-restarts is 0\)\n$/);
  t.end();
});

t.test('workers that end with 0 are no news', t => {
  const { printer, text } = printing({});

  printer.event(started(2));
  printer.event(exited(0, fine, 1));
  printer.event(exited(1, fine, 1));
  printer.event({ event: 'ended', outcome: 'succeeded', atMs: 0 });

  t.equal(text(), '');
  t.end();
});

t.test('L-060: a worker that had to be killed is told of in the words of torchrun', t => {
  const { printer, text } = printing({});

  printer.event(started(1));
  printer.event(stopping('SIGINT'));
  printer.event(exited(0, kill, 30_000, true));

  t.equal(
    text(),
    `W${log}Sending process 100 closing signal SIGINT\n` +
      `W${log}Unable to shutdown process 100 via 2, forcefully exiting via 9\n`,
  );
  t.end();
});

t.test('a SIGKILL on top of another signal is told once it has hit', t => {
  const { printer, text } = printing({});

  printer.event(started(1));
  printer.event(stopping('SIGTERM'));
  printer.event(stopping('SIGKILL'));
  printer.event(exited(0, kill, 1, true));

  t.notMatch(text(), 'closing signal SIGKILL');
  t.match(text(), 'forcefully exiting via 9');
  t.end();
});

t.test(
  'F-U9 a worker that somebody else has killed during a stop is not said to be killed by us',
  t => {
    const { printer, text } = printing({});

    printer.event(started(1));
    printer.event(stopping('SIGTERM'));
    printer.event(exited(0, kill, 8, true, 'own'));

    t.notMatch(text(), 'forcefully exiting');
    t.end();
  },
);

t.test('the rarer events are one line each', t => {
  const worker = { rank: 1, localRank: 1, pid: 101 };
  const lines: [AgentEvent, string][] = [
    [
      {
        event: 'worker-stuck',
        worker,
        state: 'D',
        waitChannel: 'nfs_wait',
        kernelStack: 'thread 103 (pt_main):\n[<0>] nfs_wait+0x1/0x2',
        atMs: 0,
      },
      "regroup: worker 1 (local 1, pid 101) can't be killed: it's stuck in the kernel in state D, waiting in nfs_wait\n" +
        '  thread 103 (pt_main):\n  [<0>] nfs_wait+0x1/0x2\n',
    ],
    [
      { event: 'worker-stuck', worker, state: 'D', waitChannel: '', kernelStack: '', atMs: 0 },
      "regroup: worker 1 (local 1, pid 101) can't be killed: it's stuck in the kernel in state D\n",
    ],
    [
      {
        event: 'strays-killed',
        count: 1,
        processes: [{ pid: 4711, command: 'rclone' }],
        atMs: 0,
      },
      `W${log}killed what workers had left behind: 1 process: rclone (pid 4711)\n`,
    ],
    [
      {
        event: 'strays-killed',
        count: 9,
        processes: Array.from({ length: 9 }, (_, i) => ({ pid: i + 1, command: '' })),
        atMs: 0,
      },
      `W${log}killed what workers had left behind: 9 processes: pid 1, pid 2, pid 3, pid 4, pid 5, pid 6, pid 7, pid 8, …\n`,
    ],
    [
      { event: 'output-trouble', worker, path: '/l', code: 'ENOSPC', droppedLines: 3, atMs: 0 },
      `W${log}output of worker 1 can't be written to /l: ENOSPC; 3 lines are lost\n`,
    ],
    [
      { event: 'output-trouble', worker, path: '/l', code: 'ETIMEDOUT', droppedLines: 0, atMs: 0 },
      `W${log}output of worker 1 can't be written to /l: it takes nothing\n`,
    ],
    [
      { event: 'node-left-out', node: 'n1 (10.0.0.1)', failures: 3, perMs: 600_000, atMs: 0 },
      `W${log}n1 (10.0.0.1) was the root cause of 3 failures within 10 min 00 s: it's left out for 10 min 00 s, where the others are enough (--strikes)\n`,
    ],
    [
      {
        event: 'store-unreachable',
        round: 3,
        address: '10.0.0.1:29400',
        here: 'n2 (10.0.0.2)',
        there: 'n1 (10.0.0.1)',
        reason: 'ECONNREFUSED',
        limitMs: 5_000,
        atMs: 0,
      },
      `W${log}n2 (10.0.0.2) can't reach the store of round 3's workers, 10.0.0.1:29400 on n1 (10.0.0.1), tried for 5.0 s: ECONNREFUSED. Workers here will wait for it. Let that port pass the firewall between the two (--port-range=FIRST-LAST has it within a range); where it's another address that others reach that node at, start it with --interface or --local-addr\n`,
    ],
    [
      {
        event: 'node-unreachable',
        round: 3,
        address: '[fd00::1]:41235',
        here: 'n2 (fd00::2)',
        there: 'n1 (fd00::1)',
        reason: 'it does not answer',
        limitMs: 5_000,
        atMs: 0,
      },
      `W${log}n2 (fd00::2) can't connect to [fd00::1]:41235 on n1 (fd00::1), tried for 5.0 s: it does not answer. Workers that connect to each other, as those of NCCL and gloo do, may hang. Let all ports that the kernel chooses (net.ipv4.ip_local_port_range) pass the firewall between the two; where it's another address that others reach that node at, start it with --interface or --local-addr\n`,
    ],
    [
      { event: 'open-to-all', port: 29_400, addresses: ['10.0.0.1'], atMs: 0 },
      'regroup: whoever reaches port 29400 of 10.0.0.1 can take part in the job, or end it; REGROUP_TOKEN or --rdzv-conf token-file=PATH, the same on all nodes, keeps others out\n',
    ],
    [
      { event: 'error-file-trouble', reason: 'Unable to write error to file. EACCES', atMs: 0 },
      `W${log}Unable to write error to file. EACCES\n`,
    ],
  ];
  for (const [event, line] of lines) {
    const { printer, text } = printing({});
    printer.event(event);
    t.equal(text(), line);
  }
  t.end();
});

t.test('the result of the rendezvous is shown at INFO, as torchrun shows it', t => {
  const { printer, text } = printing({ logLevel: logLevels.INFO });

  printer.event(started(2, 1));

  t.equal(
    text(),
    `[default] Rendezvous complete for workers. Result:
  restart_count=1
  master_addr=127.0.0.1
  master_port=29500
  group_rank=0
  group_world_size=1
  local_ranks=[0, 1]
  role_ranks=[0, 1]
  global_ranks=[0, 1]
  role_world_sizes=[2, 2]
  global_world_sizes=[2, 2]
  event_log_handler=null

[default] Starting worker group
`
      .replaceAll(/^/gm, `I${log}`)
      .slice(0, -`I${log}`.length),
  );
  t.end();
});

t.test('LOGLEVEL=CRITICAL leaves the report alone', t => {
  const { printer, text } = printing({ logLevel: logLevels.CRITICAL });

  printer.event(started(1));
  printer.event(exited(0, segv, 85));
  printer.failed({ name: 'a.py', binary: 'python' }, failure, [failure], 1);

  t.match(
    text(),
    /^torch\.distributed\.elastic\.multiprocessing\.errors\.ChildFailedError: \n=.*=\n$/s,
  );
  t.end();
});

t.test(
  'L-082: the report comes behind the line with the binary and the last lines of stderr',
  t => {
    const { printer, text } = printing({});

    printer.failed({ name: 'a.py', binary: '/usr/bin/python3' }, failure, [failure], 1);

    t.match(
      text(),
      `E${log}failed (exitcode: 7) local_rank: 1 (pid: 101) of binary: /usr/bin/python3
regroup: the end of worker 1's stderr:
  | Traceback
  | ValueError: boom
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n`,
    );
    t.end();
  },
);

t.test('F-U3: the last line says who, why, where and with which exit code', t => {
  const { tail: _, ...untold } = failure;
  const raised = `[rank1]: Traceback (most recent call last):
[rank1]:   File "/a.py", line 3, in <module>
[rank1]: RuntimeError: first
[rank1]: During handling of the above exception, another exception occurred:
[rank1]: Traceback (most recent call last):
[rank1]: ValueError: ${'x'.repeat(300)}
Exception ignored in: <function f>
`;
  const lasts: [WorkerFailure, PrinterOptions['logFiles'] | undefined, string][] = [
    [untold, undefined, 'after 85 ms; exit code 81'],
    [{ ...failure, tail: 'words\n' }, undefined, 'after 85 ms; exit code 81'],
    [failure, undefined, 'after 85 ms; exit code 81'],
    [{ ...failure, tail: raised }, undefined, `: ValueError: ${'x'.repeat(188)}…; exit code 81`],
    [
      { ...failure, errorFile: '/e.json', message: '\nboom\nmore' },
      undefined,
      ': boom; see /e.json; exit code 81',
    ],
    [
      { ...failure, tail: 'Traceback (most recent call last):\n  at\nKeyError: 1\n' },
      () => ({ folder: '/l', stdout: '/l/1/out', stderr: '/l/1/err' }),
      ': KeyError: 1; see /l/1/err; exit code 81',
    ],
    [untold, () => ({ folder: '/l', stdout: '/l/1/out' }), '; see /l/1/out; exit code 81'],
    [
      { ...untold, outOfMemory: 'host memory: all gone' },
      undefined,
      ': host memory: all gone; exit code 81',
    ],
    [{ ...untold, cause: 'hang', message: 'silent' }, undefined, ': silent; exit code 81'],
  ];
  for (const [root, logFiles, end] of lasts) {
    const { printer, text } = printing({ ...(logFiles && { logFiles }) });

    printer.failed({ name: 'a.py', binary: 'python' }, root, [root], 81);

    const last = text().split('\n').at(-2) ?? '';
    t.match(last, /^regroup: the job failed: worker 1 \(local 1\) exited with code 7 after 85 ms/);
    t.equal(last.slice(-end.length), end);
  }
  t.end();
});

t.test('F-U3: a failure, a hang and the end name the folder of logs and the file', t => {
  const { printer, text } = printing({ maxRestarts: 1, logFiles: loggedIn('/l') });

  printer.event(started(2));
  printer.event(exited(1, segv, 85));
  printer.failed({ name: 'a.py', binary: 'python' }, failure, [failure], 1);

  const lines = text().split('\n');
  t.equal(lines[1], "regroup: logs: /l; worker 1's stderr: /l/0/1/err");
  t.equal(lines.at(-3), 'regroup: logs: /l');
  t.match(lines.at(-2), /; see \/l\/0\/1\/err; exit code 1$/);
  t.end();
});

t.test('F-U3: a folder that nobody has chosen is told once, at the start', t => {
  const { printer, text } = printing({ logsInTemp: true, logFiles: loggedIn('/tmp/l') });

  printer.event(started(1));
  printer.event(started(1, 1));

  t.equal(text(), 'regroup: logs: /tmp/l\n');
  t.end();
});

t.test('a signal that stops the job says how long it waits, and how to wait no longer', t => {
  for (const [signal, again] of [
    ['SIGINT', 'second Ctrl-C'],
    ['SIGTERM', 'second SIGTERM'],
  ] as const) {
    const { printer, text } = printing({});

    printer.event(started(1));
    printer.event(stopping(signal, 'signal'));
    printer.event(stopping('SIGKILL', 'signal'));

    t.equal(
      text(),
      `regroup: waiting up to 30.0 s for the workers to end; a ${again} kills them\n` +
        `W${log}Sending process 100 closing signal ${signal}\n`,
    );
  }
  t.end();
});

t.test('which Python it was is told where a module is missing', t => {
  const interpreter = { path: '/usr/bin/python3', because: 'python3 on PATH' } as const;
  const line = 'regroup: interpreter: /usr/bin/python3 (python3 on PATH)\n';
  const run = { name: 'a.py', binary: '/usr/bin/python3', interpreter };
  const ends = (tail: string | undefined, code: number, durationMs: number): string => {
    const { printer, text } = printing({});
    const { tail: _, ...untold } = failure;
    const exit: WorkerExit = { how: 'exited', code };
    const root = { ...untold, ...(tail && { tail }), exit, durationMs };
    printer.failed(run, root, [root], 1);
    return text();
  };

  t.match(ends("ModuleNotFoundError: No module named 'torch'\n", 1, 85), line);
  t.match(ends('/usr/bin/python3: No module named no_such\n', 1, 85), line);
  t.match(ends(undefined, 1, 85), line, 'it may be, for all that we have seen');
  t.notMatch(ends(undefined, 1, 3_600_000), line, 'imports take no hour');
  t.notMatch(ends(undefined, 7, 85), line);
  t.notMatch(ends('ValueError: boom\n', 1, 85), line);
  t.end();
});

t.test('a notice that every worker has heeded is told at the end', t => {
  const { printer, text } = printing({});

  printer.event(started(1));
  printer.succeeded();
  t.equal(text(), '');

  printer.event({
    event: 'preempting',
    by: 'signal',
    reaches: 'workers',
    signal: 'SIGUSR1',
    atMs: 0,
  });
  printer.succeeded();

  t.match(text(), /\nregroup: preempted; every worker ended with code 0; exit code 0\n$/);
  t.end();
});

t.test('R-044 whoever was cut off from a job that has succeeded since is told so', t => {
  const { printer, text } = printing({});

  printer.event(started(1));
  printer.event(stopping('SIGKILL', 'fenced'));
  printer.succeeded();
  t.match(text(), /^regroup: the job has succeeded while this node waited for a place in it;/m);

  const back = printing({});
  back.printer.event(started(1));
  back.printer.event(stopping('SIGKILL', 'fenced'));
  back.printer.event(started(1, 1));
  back.printer.succeeded();
  t.notMatch(back.text(), /while this node waited/);
  t.end();
});

t.test('a function entrypoint is named as such', t => {
  const { printer, text } = printing({});

  printer.failed(
    { name: 'run_script_path', binary: 'run_script_path', startMethod: 'spawn' },
    failure,
    [failure],
    1,
  );

  t.match(text(), 'of fn: run_script_path (start_method: spawn)\n');
  t.end();
});

t.test('the banner lists what is launched', t => {
  t.equal(
    launchBanner([
      ['entrypoint', 'a.py'],
      ['duplicate_stdout_filters', '[]'],
    ]),
    'Starting elastic_operator with launch configs:\n' +
      '  entrypoint               : a.py\n' +
      '  duplicate_stdout_filters : []\n',
  );
  t.end();
});

t.test('log lines have the shape of glog, line by line', t => {
  const glog = /^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ [^\]]+\] /;
  for (const level of ['INFO', 'WARNING', 'ERROR'] as const) {
    t.same(logLines(level, 'a\nb', now, 77), `${level[0]}${log}a\n${level[0]}${log}b\n`);
    t.match(logLines(level, 'a', new Date(), 77), glog);
  }
  t.end();
});

function printing(options: {
  readonly logLevel?: number;
  readonly maxRestarts?: number;
  readonly ompIsUnset?: boolean;
  readonly logFiles?: PrinterOptions['logFiles'];
  readonly logsInTemp?: boolean;
}): { readonly printer: Printer; readonly text: () => string } {
  let written = '';
  const printer = createPrinter({
    logLevel: logLevels.WARNING,
    maxRestarts: 0,
    hasPolicy: false,
    ompIsUnset: false,
    logFiles: () => undefined,
    logsInTemp: false,
    ...options,
    role: 'default',
    pid: 77,
    now: () => now,
    write: text => {
      written += text;
    },
  });
  return { printer, text: () => written };
}

function loggedIn(folder: string): PrinterOptions['logFiles'] {
  return ({ restartCount, localRank }) => {
    const own = `${folder}/${restartCount}/${localRank}`;
    return { folder, stdout: `${own}/out`, stderr: `${own}/err` };
  };
}

/** Workers have pid 100 + rank. */
function started(count: number, restartCount = 0): AgentEvent {
  return {
    event: 'round-started',
    round: restartCount,
    restartCount,
    masterAddr: '127.0.0.1',
    masterPort: 29500,
    groupRank: 0,
    groupWorldSize: 1,
    worldSize: count,
    workers: Array.from({ length: count }, (_, rank) => ({
      rank,
      localRank: rank,
      pid: 100 + rank,
    })),
    rendezvousMs: 0,
    atMs: 0,
  };
}

function exited(
  rank: number,
  exit: WorkerExit,
  durationMs: number,
  duringStop = false,
  cause: 'own' | 'stopped-by-us' = duringStop ? 'stopped-by-us' : 'own',
): AgentEvent {
  const worker = { rank, localRank: rank, pid: 100 + rank };
  return { event: 'worker-exited', worker, exit, durationMs, duringStop, cause, atMs: durationMs };
}

function stopping(signal: string, reason: 'failure' | 'fenced' | 'signal' = 'failure'): AgentEvent {
  return { event: 'stopping', reason, signal, graceMs: 30_000, atMs: 0 };
}
