import { setTimeout as sleep } from 'node:timers/promises';
import type { DumpFile, WorkerIdentity } from '../events.js';
import { createDisk, type Disk } from '../system/disk.js';
import { readPiece, statOf, writeText } from '../system/files.js';
import { runBounded } from './bounded-child.js';
import { catches, foldRanks, mainPlace, type Place } from './stacks.js';

/**
 * Stacks of workers that hang, before anybody kills them. Reading the /proc of a process that's stuck
 * in the kernel can get stuck as well, so children of ours do it, which are left to themselves when
 * their time is over.
 */

export interface DumpTarget {
  readonly worker: WorkerIdentity;
  /** The worker's log folder and the file of its stderr, where there are. */
  readonly folder?: string | undefined;
  readonly stderr?: string | undefined;
}

export interface Dump {
  readonly files: readonly DumpFile[];
  /** Places of the workers that told where they are, by rank. */
  readonly places: ReadonlyMap<number, Place>;
  readonly summary: string;
  readonly hasPySpy: boolean;
  /** Whether Python's own frames were had of any worker. */
  readonly hasFrames: boolean;
}

/** Worth the time: the trainer and its first data loaders. */
const maxDescendants = 16;
/** Time that a handler has to write its stacks. */
const signalMs = 500;
const maxHandledBytes = 1024 * 1024;
/** Limit of looking into each folder of PATH. */
const findMs = 500;

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

/** How stacks are taken. */
export interface DumpOptions {
  readonly boundMs: number;
  /** Sent to those that catch it, where py-spy gave nothing. */
  readonly signal: { readonly name: string; readonly number: number } | undefined;
  /** Where py-spy is looked for. */
  readonly path: string | undefined;
  /** The disk of the log folders. */
  readonly disk: Disk;
  /** Nobody is disturbed any more once this is aborted: neither stopped by py-spy nor sent a signal. */
  readonly stop: AbortSignal;
}

export async function dumpStacks(
  targets: readonly DumpTarget[],
  options: DumpOptions,
): Promise<Dump> {
  const untilMs = performance.now() + options.boundMs;
  const pySpy = await findProgram('py-spy', options.path);
  const found = await Promise.all(
    targets.map(target => dumpOne(target, { ...options, pySpy, untilMs })),
  );
  return {
    files: found.map(({ file }) => file),
    places: new Map(found.flatMap(({ rank, place }) => (place ? [[rank, place]] : []))),
    summary: foldRanks(found),
    hasPySpy: pySpy !== undefined,
    hasFrames: found.some(({ place }) => place?.at !== undefined),
  };
}

interface Found {
  readonly rank: number;
  readonly place: Place | undefined;
  readonly file: DumpFile;
}

async function dumpOne(
  { worker, folder, stderr }: DumpTarget,
  options: DumpOptions & { readonly pySpy: string | undefined; readonly untilMs: number },
): Promise<Found> {
  const { pid, rank } = worker;
  const { pySpy, signal, untilMs, disk, stop } = options;
  const leftMs = (): number => Math.max(1, untilMs - performance.now());
  // Without /proc there would be nothing at all: it gets half of the time at most, py-spy
  // most of the rest, and writing what's left.
  const proc = await runBounded(
    '/bin/sh',
    ['-c', procScript, 'sh', String(pid), String(maxDescendants)],
    leftMs() / 2,
    stop,
  );
  const pids = [...proc.matchAll(/^=== process (\d+)$/gm)].map(match => Number(match[1]));

  let spied = '';
  if (pySpy !== undefined && !stop.aborted) {
    const each = await Promise.all(
      pids.map(async each => {
        const args = ['dump', '--pid', String(each)];
        const text = await runBounded(pySpy, args, leftMs() * 0.8, stop);
        return `=== py-spy dump --pid ${each}\n${text}\n`;
      }),
    );
    spied = each.join('');
  }
  let place = mainPlace(spied);
  let handled = '';
  if (
    place === undefined &&
    signal !== undefined &&
    catches(proc, signal.number) &&
    !stop.aborted
  ) {
    handled = await askHandler(pid, signal, stderr, { waitMs: Math.min(signalMs, leftMs()), disk });
    place = mainPlace(handled);
  }
  const waitChannel = new RegExp(`^--- ${pid}/wchan\n(\\w+)`, 'm').exec(proc)?.[1];
  const isStopped = /^State:\s+[Tt]/m.test(proc);
  if (isStopped) place = { name: 'a stopped process', state: 'stopped' };
  else if (waitChannel !== undefined && waitChannel !== '0') place ??= { name: waitChannel };

  const path = folder === undefined ? undefined : `${folder}/stacks.txt`;
  // A log folder on a disk that hangs doesn't hold up the restart; the event goes without a path.
  const isWritten =
    path !== undefined &&
    (await disk
      .run(leftMs(), () => writeText(path, `${spied}${handled}${proc}`))
      .then(
        () => true,
        () => false,
      ));
  return { rank, place, file: { rank, ...(isWritten ? { path } : {}) } };
}

/** Asks a worker's handler for its stacks. A zombie isn't reaped before the group's end, so the pid can't be another's. */
async function askHandler(
  pid: number,
  signal: { readonly name: string; readonly number: number },
  stderr: string | undefined,
  { waitMs, disk }: { readonly waitMs: number; readonly disk: Disk },
): Promise<string> {
  const sizeOf = (path: string): Promise<number> =>
    disk
      .run(waitMs, () => statOf(path))
      .then(
        found => found.bytes,
        () => 0, // not there yet
      );
  const before = stderr === undefined ? 0 : await sizeOf(stderr);
  try {
    process.kill(pid, signal.number);
  } catch {
    return ''; // gone meanwhile
  }
  await sleep(waitMs);
  if (stderr === undefined) return '';
  const written = await disk
    .run(waitMs, () => readPiece(stderr, before, maxHandledBytes))
    .then(
      ({ piece }) => piece.toString('utf8'),
      () => '', // the script may have removed it; the rest is worth having
    );
  return `=== stderr after ${signal.name}\n${written}\n`;
}

async function findProgram(name: string, path = ''): Promise<string | undefined> {
  const programs = createDisk(1);
  for (const folder of path.split(':').filter(each => each.startsWith('/'))) {
    const file = `${folder}/${name}`;
    // Not here, or on a disk that is dead.
    const found = await programs.run(findMs, () => statOf(file)).catch(() => undefined);
    if (found?.kind === 'file' && (found.mode & 0o111) !== 0) return file;
  }
  return undefined;
}
