import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { lastLine, lineOf } from '../../lib/observe/event-log.js';
import { createLineLog, type LineLogSurroundings } from '../../lib/observe/line-log.js';
import { appendLines, closeAppended } from '../../lib/system/files.js';
import { deferred } from '../../lib/util/deferred.js';

type Append = LineLogSurroundings['append'];

/** A file that answers as `append` says, and what was told of it. */
function log(append: Append, path: () => Promise<string> = async () => '/log') {
  const told: unknown[] = [];
  const closed: string[] = [];
  const lines = createLineLog({
    path,
    append,
    close: at => closed.push(at),
    trouble: (...all) => told.push(all),
  });
  return { ...lines, told, closed };
}

const counted = (counts: object): string => JSON.stringify(counts);

t.test('18.1: lines are written in their order, those that come meanwhile together', async t => {
  const writes: string[] = [];
  const { add, end, told, closed } = log(async (_, lines) => {
    writes.push(lines);
    return { bytes: Buffer.byteLength(lines) };
  });

  for (const line of ['a', 'b', 'c']) add(line);
  await end(counted);

  t.equal(writes.join(''), 'a\nb\nc\n{"written":3,"lost":0}\n');
  t.equal(writes.length, 2);
  t.strictSame(told, []);
  t.strictSame(closed, ['/log']);
});

t.test(
  '18.1: behind a full pipe the rest of a line follows, and nothing comes between',
  async t => {
    let file = '';
    let room = 5;
    const { add, end, told } = log(async (_, lines) => {
      const taken = lines.slice(0, room);
      file += taken;
      room = 5;
      return taken.length < lines.length
        ? { bytes: taken.length, code: 'EAGAIN' }
        : { bytes: taken.length };
    });

    add('0123456789');
    add('abc');
    await end(({ written, lost }) => `${written} ${lost}`);

    t.equal(file, '0123456789\nabc\n2 0\n');
    t.strictSame(told, []);
  },
);

t.test('18.1: a pipe that is full now and then gets every character', async t => {
  const fifo = join(t.testdir({}), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const { add, end } = createLineLog({
    path: async () => fifo,
    append: appendLines,
    close: closeAppended,
    trouble: (_, code) => t.fail(code),
  });
  const heads = { node: 'n', runId: '€'.repeat(900), unixAheadMs: () => 0 };

  // Several times what a pipe has room for.
  const sent = Array.from({ length: 100 }, (_, atMs) => atMs);
  for (const atMs of sent) add(lineOf({ event: 'store-used', round: 0, atMs }, heads));
  let isOver = false;
  const ended = end(counts => lastLine({ error: 'ß' }, counts, heads, 0)).then(() => {
    isOver = true;
  });
  const pieces: Buffer[] = [];
  while (!isOver) {
    pieces.push(...readAll(reader));
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  await ended;
  pieces.push(...readAll(reader));

  const lines = Buffer.concat(pieces).toString('utf8').trimEnd().split('\n');
  const records = lines.map(line => JSON.parse(line));
  t.equal(records.length, sent.length + 1);
  t.strictSame([...new Set(records.map(({ runId }) => runId))], [heads.runId]);
  t.match(records.at(-1), { records: sent.length, lostRecords: 0, error: { message: 'ß' } });
});

/** What a pipe has for now. */
function readAll(fd: number): Buffer[] {
  const pieces: Buffer[] = [];
  try {
    for (;;) {
      const piece = Buffer.alloc(65_536);
      const bytes = readSync(fd, piece);
      if (bytes === 0) return pieces;
      pieces.push(piece.subarray(0, bytes));
    }
  } catch {
    // EAGAIN: that was all.
    return pieces;
  }
}

t.test('18.1: a full disk is told once, and what it has lost is in the last line', async t => {
  let file = '';
  let isFull = true;
  const { add, end, told } = log(async (_, lines) => {
    if (isFull) return { bytes: 2, code: 'ENOSPC' };
    file += lines;
    return { bytes: lines.length };
  });

  add('a');
  add('b');
  add('c');
  // Each is tried, for a disk may have room again.
  await new Promise(setImmediate);
  isFull = false;
  await end(counted);

  t.equal(file, '{"written":1,"lost":2}\n');
  t.strictSame(told, [['/log', 'ENOSPC', 2]]);
});

t.test('18.1: a file that takes nothing costs no more than so much memory', async t => {
  const never = deferred<{ bytes: number }>();
  const { add, end, told, closed } = log(() => never.promise);

  const line = 'x'.repeat(1023);
  add(line);
  await new Promise(setImmediate);
  for (let i = 0; i < 20_000; i++) add(line);
  t.strictSame(told, [['/log', 'ENOBUFS', 1]]);
  await end(() => {
    throw new Error('the last line comes behind all others');
  });

  t.equal(told.length, 1);
  t.strictSame(closed, ['/log']);
});

t.test('18.1: what is slow is waited for at the end, as long as it takes something', async t => {
  let file = '';
  const { add, end } = log(async (_, lines) => {
    await new Promise(setImmediate);
    const taken = lines.slice(0, 1000);
    file += taken;
    return { bytes: taken.length, code: taken.length < lines.length ? 'EAGAIN' : undefined };
  });

  for (let i = 0; i < 20; i++) add('x'.repeat(500));
  await end(counted);

  t.match(file, /\n\{"written":20,"lost":0\}\n$/);
});

t.test(
  '18.1: a reader that takes a byte now and then holds up the end for so long only',
  async t => {
    const told: unknown[] = [];
    const closed: string[] = [];
    let isOver = false;
    const { add, end } = createLineLog(
      {
        path: async () => '/log',
        append: async () => {
          t.notOk(isOver);
          return { bytes: 1, code: 'EAGAIN' };
        },
        close: at => closed.push(at),
        trouble: (...all) => told.push(all),
      },
      { restMs: 60_000, endMs: 300 },
    );

    add('x'.repeat(1_000_000));
    await end(() => {
      throw new Error('the last line comes behind all others');
    });
    isOver = true;

    t.match(told, [['/log', 'ETIMEDOUT', Number]]);
    t.strictSame(closed, ['/log']);
  },
);

t.test('18.1: where there is no file, that is told, and the end waits for nothing', async t => {
  const noFolder = async (): Promise<string> => {
    throw Object.assign(new Error('no logs'), { code: 'ENOENT' });
  };
  const { add, end, told, closed } = log(() => t.fail('nowhere') as never, noFolder);

  add('a');
  add('b');
  await end(counted);

  t.match(told, [['', 'ENOENT', Number]]);
  t.strictSame(closed, []);
});
