import { constants } from 'node:fs';
import { access, open, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkerIdentity } from '../events.js';
import { runBounded } from './bounded-child.js';
import { catches, type DumpFile, foldRanks, mainFrame } from './stacks.js';

/**
 * Stacks of workers that hang, before anybody kills them. Reading the /proc of a process that's stuck
 * in the kernel can get stuck as well, so children of ours do it, which are left to themselves when
 * their time is over.
 */

export interface DumpTarget {
  readonly worker: WorkerIdentity;
  /** Its log folder and the file of its stderr, where there are. */
  readonly folder?: string | undefined;
  readonly stderr?: string | undefined;
}

export interface Dump {
  readonly files: readonly DumpFile[];
  readonly summary: string;
}

/** Worth the time: the trainer and its first data loaders. */
const maxDescendants = 16;
/** For a handler to write its stacks. */
const signalMs = 500;

/**
 * One process after the other: the worker, then what it has started. Never cmdline and environ,
 * which wait for a lock that a process stuck in a page fault holds. $1: pid, $2: how many.
 */
const procScript = `
kids() {
  for kid in $(cat /proc/$1/task/*/children 2>/dev/null); do echo $kid; kids $kid; done
}
show() {
  for name in status wchan syscall stack; do
    echo "--- $1/$name"; cat /proc/$1/$name 2>&1; echo
  done
  for task in /proc/$1/task/*; do
    echo "--- thread \${task##*/} $(cat $task/comm 2>/dev/null): $(cat $task/wchan 2>/dev/null)"
  done
  echo "--- $1/sockets"
  for fd in /proc/$1/fd/*; do
    link=$(readlink $fd 2>/dev/null)
    case $link in
      socket:*)
        inode=\${link#socket:?}; inode=\${inode%?}
        row=$(grep -hE "^ *[0-9]+: ([^ ]+ +){8}$inode " /proc/$1/net/tcp /proc/$1/net/tcp6 2>/dev/null)
        [ -z "$row" ] || echo "fd \${fd##*/} $row";;
    esac
  done
}
echo "=== process $1"; show $1
for pid in $(kids $1 | head -n $2); do echo "=== process $pid"; show $pid; done
`;

/** @param options.env where py-spy is looked for */
export async function dumpStacks(
  targets: readonly DumpTarget[],
  options: {
    readonly boundMs: number;
    readonly signal: { readonly name: string; readonly number: number } | undefined;
    readonly path: string | undefined;
  },
): Promise<Dump> {
  const untilMs = performance.now() + options.boundMs;
  const pySpy = await findProgram('py-spy', options.path);
  const dumps = await Promise.all(
    targets.map(target => dumpOne(target, { ...options, pySpy, untilMs })),
  );
  return {
    files: dumps.map(({ file }) => file),
    summary: foldRanks(dumps),
  };
}

async function dumpOne(
  { worker, folder, stderr }: DumpTarget,
  options: Parameters<typeof dumpStacks>[1] & {
    readonly pySpy: string | undefined;
    readonly untilMs: number;
  },
): Promise<{ readonly rank: number; readonly where: string | undefined; readonly file: DumpFile }> {
  const { pid, rank } = worker;
  const { pySpy, signal, untilMs } = options;
  const leftMs = (): number => Math.max(1, untilMs - performance.now());
  // Without /proc there would be nothing at all: it gets half of the time at most, py-spy
  // most of the rest, and writing what's left.
  const proc = await runBounded(
    '/bin/sh',
    ['-c', procScript, 'sh', String(pid), String(maxDescendants)],
    leftMs() / 2,
  );
  const pids = [...proc.matchAll(/^=== process (\d+)$/gm)].map(match => Number(match[1]));

  let spied = '';
  if (pySpy !== undefined) {
    const each = await Promise.all(
      pids.map(async each => {
        const text = await runBounded(pySpy, ['dump', '--pid', String(each)], leftMs() * 0.8);
        return `=== py-spy dump --pid ${each}\n${text}\n`;
      }),
    );
    spied = each.join('');
  }
  let where = mainFrame(spied);
  let handled = '';
  if (where === undefined && signal !== undefined && catches(proc, signal.number)) {
    handled = await askHandler(pid, signal, stderr, Math.min(signalMs, leftMs()));
    where = mainFrame(handled);
  }
  const waitChannel = new RegExp(`^--- ${pid}/wchan\n(\\w+)`, 'm').exec(proc)?.[1];
  const isStopped = /^State:\s+[Tt]/m.test(proc);
  where ??= isStopped ? 'a stopped process' : waitChannel === '0' ? undefined : waitChannel;

  const path = folder === undefined ? undefined : `${folder}/stacks.txt`;
  const isWritten =
    path !== undefined && (await write(path, `${spied}${handled}${proc}`, leftMs()));
  return { rank, where, file: { rank, ...(isWritten ? { path } : {}) } };
}

/** Its zombie isn't reaped before the group's end, so the pid can't be another's. */
async function askHandler(
  pid: number,
  signal: { readonly name: string; readonly number: number },
  stderr: string | undefined,
  waitMs: number,
): Promise<string> {
  const before = stderr === undefined ? 0 : await sizeOf(stderr);
  try {
    process.kill(pid, signal.number);
  } catch {
    return ''; // gone meanwhile
  }
  await sleep(waitMs);
  if (stderr === undefined) return '';
  return `=== stderr after ${signal.name}\n${await readFrom(stderr, before)}\n`;
}

async function findProgram(name: string, path = ''): Promise<string | undefined> {
  for (const folder of path.split(':').filter(each => each.startsWith('/'))) {
    try {
      await access(`${folder}/${name}`, constants.X_OK);
      return `${folder}/${name}`;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    found => found.size,
    () => 0, // not there yet
  );
}

async function readFrom(path: string, offset: number): Promise<string> {
  try {
    await using file = await open(path);
    const bytes = Buffer.alloc(1024 * 1024);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
    return bytes.subarray(0, bytesRead).toString('utf8');
  } catch {
    return ''; // the script may have removed it; the rest is worth having
  }
}

/** A log folder on a file system that hangs mustn't hold up the restart. */
async function write(path: string, text: string, boundMs: number): Promise<boolean> {
  const written = writeFile(path, text).then(
    () => true,
    () => false, // the event goes without a path
  );
  return Promise.race([written, sleep(boundMs, false, { ref: false })]);
}
