import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runCli, startCli } from '../../harness.js';
import { muteDisk, noMuteDisk } from '../../mute-disk.js';

/** Two workers that fail, and whom the command's words name. */

const leaves = { mayLeave: /^torchelastic_/ };

/** A folder of the test's with a named pipe. */
function folderWithPipe(t: Test): { readonly folder: string; readonly ready: string } {
  const folder = t.testdir({});
  const ready = join(folder, 'ready');
  execFileSync('mkfifo', [ready]);
  return { folder, ready };
}

/**
 * Rank 1 writes its error file, of ten seconds ago, and then takes until our signal to end. Rank 0 fails meanwhile, `how`
 * it's told to.
 */
function script(ready: string, how: string): string {
  return `
import json, os, signal, sys, time
rank, path = int(os.environ["RANK"]), os.environ["TORCHELASTIC_ERROR_FILE"]

def record(text, at):
    message = {"message": text, "extraInfo": {"py_callstack": text, "timestamp": str(int(at))}}
    with open(path, "w") as file:
        json.dump({"message": message}, file)
    os.utime(path, (at, at))

if rank == 1:
    record("ValueError: it began here", time.time() - 10)
    open(${JSON.stringify(ready)}, "w").close()
    signal.pause()
open(${JSON.stringify(ready)}).read()
${how}
sys.exit(3)`;
}

function command(flags: readonly string[], source: string): string[] {
  return [
    '--standalone',
    '--nproc-per-node=2',
    ...flags,
    '--no-python',
    '/usr/bin/python3',
    '-c',
    source,
  ];
}

function rootOf(stderr: string): string | undefined {
  return /Root Cause \(first observed failure\):\n(?:.*\n){3} {2}rank {6}: (\d)/.exec(stderr)?.[1];
}

for (const [what, how] of [
  ['ends', ''],
  ['raises as well', 'record("ConnectionError: reset by peer", time.time())'],
] as const) {
  t.test(
    `F-P2: who raised before our signal is the root cause, though another ${what} first`,
    async t => {
      const { folder, ready } = folderWithPipe(t);
      const errorFile = join(folder, 'own.json');
      const hook = ['--post-round', 'echo failed rank $REGROUP_FAILED_RANK'];
      const env = { TORCHELASTIC_ERROR_FILE: errorFile };
      const ended = await runCli(t, command(hook, script(ready, how)), { ...leaves, env });

      t.equal(ended.code, 1);
      t.match(ended.stderr, /^regroup: worker 0 \(local 0\) exited with code 3/m);
      const said = 'regroup: the root cause is worker 1 (local 1): ValueError: it began here';
      t.ok(ended.stderr.includes(said), ended.stderr);
      t.equal(rootOf(ended.stderr), '1');
      t.match(ended.stderr, /^post-round: failed rank 1$/m);
      const { message } = JSON.parse(readFileSync(errorFile, 'utf8')).message;
      t.equal(message, 'ValueError: it began here');
    },
  );
}

t.test('F-U1: a rule is about the worker that the report names', async t => {
  const { ready } = folderWithPipe(t);
  const rule = '--on-pattern=it began here=fail-without-requeue';
  const ended = await runCli(t, command([rule, '--max-restarts=3'], script(ready, '')), leaves);

  t.equal(ended.code, 81);
  t.equal(rootOf(ended.stderr), '1');
});

t.test(
  'an error file on a dead disk is said to be unread, and holds nothing up',
  { skip: noMuteDisk },
  async t => {
    const { ready } = folderWithPipe(t);
    const disk = muteDisk(t);
    const worker = `echo ready; read _ <${ready}; exit 5`;
    const flags = ['--standalone', `--log-dir=${disk.folder}`, '--no-python'];
    const run = startCli(t, [...flags, 'sh', '-c', worker]);
    await run.line(/^ready$/);
    const [name = ''] = readdirSync(disk.folder);
    await disk.mount(join(disk.folder, name, 'attempt_0', '0'));

    writeFileSync(ready, 'go\n');
    const ended = await run.ended;

    t.equal(ended.code, 1);
    t.match(ended.stderr, /exitcode {2}: 5/);
    t.match(ended.stderr, /its error file wasn't read: its disk didn't answer within 3 s/);
  },
);

t.test(
  'a stop is heard while the log folder is to be made on a dead disk',
  { skip: noMuteDisk },
  async t => {
    const disk = muteDisk(t);
    const isAsked = await disk.mount(disk.folder);
    const flags = ['--standalone', `--log-dir=${disk.folder}/logs`, '--no-python'];
    const run = startCli(t, [...flags, 'true']);
    await isAsked();

    run.kill('SIGTERM');
    const ended = await run.ended;

    t.match(ended, { code: 1, stderr: /got signal: 15/ });
  },
);
