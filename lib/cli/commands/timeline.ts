import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { type ReadLine, readLine } from '../../observe/timeline/records.js';
import { createTimeline } from '../../observe/timeline/timeline.js';
import type { TraceEvent } from '../../observe/timeline/trace.js';
import { onDisk, shown } from '../../util/bytes.js';
import { codeOf } from '../../util/errno.js';
import { answer } from '../process/console.js';
import { leftOut } from '../timeline/left-out.js';
import { type Line, linesOf } from '../timeline/lines.js';
import { parseTimeline, type TimelineOptions } from '../timeline/options.js';

const help = `usage: regroup timeline FILE... [--output FILE]

Draws what has happened to a job as a trace that https://ui.perfetto.dev and chrome://tracing open. FILE is
what --events has written, on each node one; of several the trace has all nodes, by the time of their clocks.

  -o, --output FILE  the file that gets the trace (default: stdout)
  -h, --help         print this and exit

  regroup --events=events.jsonl --nproc-per-node=8 train.py
  regroup timeline events.jsonl --output trace.json

Each node has a row of its rounds with their phases, of its restarts with theirs, of its standbys, of other
events, and one of each worker, by its rank. What can't be read of a file is left out, and said on stderr.

Exit code 0 where there is a trace, 1 where there is none, 2 for a wrong command line. A script called
\`timeline\` is started by \`regroup ./timeline\`.
`;

/** `regroup timeline`. */
export async function runTimeline(argv: readonly string[]): Promise<void> {
  const parsed = parseTimeline(argv);
  switch (parsed.do) {
    case 'help':
      return answer(1, help);
    case 'refuse':
      return fail(parsed.why, 2);
    case 'run':
      try {
        return await run(parsed.options);
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        return fail(error.message);
      }
  }
}

/** A file that can't be read or written: which, and why. */
class FileError extends Error {}

/** @throws FileError for what node:fs throws; anything else is our own mistake */
function atFile(path: string, error: unknown): never {
  if (codeOf(error) === undefined) throw error;
  // `ENOENT: no such file or directory, open 'x'`
  const { message } = error as Error;
  throw new FileError(`${path}: ${/^\w+: ([^,]*)/.exec(message)?.[1] ?? message}`);
}

function fail(why: string, exitCode = 1): Promise<void> {
  process.exitCode = exitCode;
  return answer(2, `regroup timeline: error: ${shown(why)}\n`);
}

async function run({ files, output }: TimelineOptions): Promise<void> {
  // All of them, before a word is written.
  const ids = files.map(idOf);
  const there = output === undefined ? undefined : idIfThere(output);
  const own = there === undefined ? -1 : ids.indexOf(there);
  if (own >= 0) return fail(`--output: it's ${files[own]}, which is to be read`, 2);

  const trace = traceWriter(output);
  const timeline = createTimeline();
  for (const file of files) {
    const left = leftOut();
    for await (const lines of piecesOf(file)) {
      for (const line of lines) {
        const read = readOf(line);
        left.note(line, read);
        if (read.is === 'record') trace.add(timeline.take(shown(file), read.record));
      }
      await trace.write();
    }
    for (const words of left.words())
      await answer(2, `regroup timeline: ${shown(file)}: ${words}\n`);
  }
  trace.add(timeline.end());
  if (!(await trace.end())) return fail(`no events in ${files.join(', ')}`);
}

/** Lines of a file, some at a time. @throws FileError */
async function* piecesOf(file: string): AsyncGenerator<Line[]> {
  const pieces = linesOf(file);
  for (;;) {
    const next = await pieces.next().catch(error => atFile(file, error));
    if (next.done) return;
    yield next.value;
  }
}

function readOf({ text, isTooLong }: Line): ReadLine {
  return isTooLong ? { is: 'no-json' } : readLine(text);
}

/** What tells a file from others. @throws FileError */
function idOf(path: string): string {
  try {
    const { dev, ino } = statSync(onDisk(path), { bigint: true });
    return `${dev} ${ino}`;
  } catch (error) {
    return atFile(path, error);
  }
}

function idIfThere(path: string): string | undefined {
  try {
    return idOf(path);
  } catch {
    return undefined; // it will be made, or can't be, which is told then
  }
}

/** Writes a trace by and by. Nothing is made or written before there's an event. */
interface TraceWriter {
  add(events: readonly TraceEvent[]): void;
  /** Writes what has been added. @throws FileError */
  write(): Promise<void>;
  /** @returns whether there was an event */
  end(): Promise<boolean>;
}

function traceWriter(output: string | undefined): TraceWriter {
  let text = '';
  let hasBegun = false;
  let fd: number | undefined;

  async function write(): Promise<void> {
    const bytes = Buffer.from(text);
    text = '';
    if (bytes.length === 0) return;
    if (output === undefined) return answer(1, bytes.toString());
    try {
      fd ??= openSync(onDisk(output), 'w');
      for (let from = 0; from < bytes.length; ) from += writeSync(fd, bytes, from);
    } catch (error) {
      atFile(output, error);
    }
  }

  return {
    write,
    add(events) {
      for (const event of events) {
        text += `${hasBegun ? ',\n' : '{"displayTimeUnit":"ms","traceEvents":[\n'}${JSON.stringify(event)}`;
        hasBegun = true;
      }
    },
    async end() {
      if (hasBegun) text += '\n]}\n';
      await write();
      if (fd !== undefined) closeSync(fd);
      return hasBegun;
    },
  };
}
