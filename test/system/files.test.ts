import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import {
  appendLines,
  closeAppended,
  makeFifo,
  makeFolders,
  marksOf,
  readPiece,
  readText,
  readTrusted,
  removeAll,
  statOf,
  writeText,
  writeTrusted,
} from '../../lib/system/files.js';

/** Limits that nothing here reaches. */
const roomy = { kind: 'kept-', maxFiles: 100, maxBytes: 1 << 20 } as const;

// Node stays for no errand at a file of ours, and tests wait for them.
const stays = setInterval(() => {}, 1 << 30);
t.teardown(() => clearInterval(stays));

t.test('folders are made in their order, up to the first that can’t be', async t => {
  const base = t.testdir({ file: '', there: {} });

  await makeFolders([
    { path: `${base}/there`, mayBeThere: true },
    { path: `${base}/a`, mode: 0o700 },
    { path: `${base}/a/b` },
  ]);
  const refused = makeFolders([
    { path: `${base}/c` },
    { path: `${base}/file/d` },
    { path: `${base}/e` },
  ]);

  await t.rejects(refused, {
    code: 'ENOTDIR',
    syscall: 'mkdir',
    path: `${base}/file/d`,
    message: `ENOTDIR: not a directory, mkdir '${base}/file/d'`,
  });
  t.equal(statSync(`${base}/a`).mode & 0o777, 0o700);
  t.strictSame(
    ['a/b', 'c', 'e'].map(name => existsSync(`${base}/${name}`)),
    [true, true, false],
  );
  await t.rejects(makeFolders([{ path: `${base}/a` }]), { code: 'EEXIST' });
});

t.test('a tree is removed with what is in it, and nothing that its links lead to', async t => {
  const base = t.testdir({ tree: { below: { file: 'x' }, empty: {} }, kept: { file: 'y' } });
  symlinkSync(`${base}/kept`, `${base}/tree/below/link`);

  await removeAll(`${base}/tree`);
  await removeAll(`${base}/tree`);
  symlinkSync(`${base}/kept`, `${base}/link`);
  await removeAll(`${base}/link`);

  t.notOk(existsSync(`${base}/tree`));
  t.equal(readFileSync(`${base}/kept/file`, 'utf8'), 'y');
  await t.rejects(removeAll(`${base}/kept/file/below`), { code: 'ENOTDIR' });
  await t.rejects(removeAll('/proc/self/status'), { code: 'EPERM', syscall: 'unlink' });
});

t.test('a tree is removed however deep it is', async t => {
  const base = t.testdir({ kept: { file: 'y' } });
  const below = Array.from({ length: 300 }, (_, level) => `level${level}`).join('/');
  mkdirSync(`${base}/tree/${below}`, { recursive: true });
  mkdirSync(`${base}/tree/level0/beside`);
  writeFileSync(`${base}/tree/${below}/file`, '');
  symlinkSync(`${base}/kept`, `${base}/tree/level0/link`);

  await removeAll(`${base}/tree`);

  t.notOk(existsSync(`${base}/tree`));
  t.ok(existsSync(`${base}/kept/file`));
});

t.test('a text may hold any character', async t => {
  const base = t.testdir({});

  await writeText(`${base}/file`, 'a\0b');

  t.equal(readFileSync(`${base}/file`, 'utf8'), 'a\0b');
});

t.test('a file is read from either end', async t => {
  const base = t.testdir({ file: '0123456789' });
  const read = async (offset: number, bytes: number): Promise<string> =>
    (await readPiece(`${base}/file`, offset, bytes)).piece.toString();

  t.equal(await read(2, 3), '234');
  t.equal(await read(8, 30), '89');
  t.equal(await read(20, 30), '');
  t.equal(await read(-3, 30), '789');
  t.equal(await read(-30, 4), '0123');
  t.match(await readPiece(`${base}/file`, 0, 1), { kind: 'file', bytes: 10 });
  t.match(await readPiece(base, 0, 1), { kind: 'folder', piece: Buffer.alloc(0) });
  await t.rejects(readPiece(`${base}/none`, 0, 1), { code: 'ENOENT', path: `${base}/none` });
});

t.test('a file of the kernel’s, which has no size, is read whole', async t => {
  t.match(await readText('/proc/self/mountinfo'), / \/proc /);
});

t.test('a file is written anew', async t => {
  const base = t.testdir({ file: 'longer than that' });

  await writeText(`${base}/file`, 'ä\n');

  t.equal(readFileSync(`${base}/file`, 'utf8'), 'ä\n');
  const { writtenAtMs } = await statOf(`${base}/file`);
  t.equal(Math.floor(writtenAtMs), Math.floor(statSync(`${base}/file`).mtimeMs));
});

t.test('names that are not UTF-8 are told apart by their bytes', async t => {
  const base = t.testdir();
  const bytes = Buffer.concat([Buffer.from(`${base}/`), Buffer.from([0xff])]);

  await makeFolders([{ path: `${base}/\udcff` }]);
  t.ok(existsSync(bytes));
  mkdirSync(Buffer.concat([bytes, Buffer.from('/below')]));
  writeFileSync(Buffer.concat([bytes, Buffer.from('/below/'), Buffer.from([0xfe])]), '');

  await removeAll(`${base}/\udcff`);

  t.notOk(existsSync(bytes));
});

t.test('a mark tells a file from the one that takes its place', async t => {
  const base = t.testdir({ file: 'abc' });
  const { mtimeNs } = statSync(`${base}/file`, { bigint: true });

  t.strictSame(await marksOf([`${base}/file`, `${base}/none`]), [`${mtimeNs}:3`, '']);
  t.strictSame(await marksOf([]), []);
});

t.test('a write that fails leaves what was there, and nothing beside it', async t => {
  const base = t.testdir();
  chmodSync(base, 0o700);
  await writeTrusted({ base, folder: base, name: 'list', ...roomy }, 'old');
  mkdirSync(`${base}/folder`);

  await t.rejects(writeTrusted({ base, folder: base, name: 'folder', ...roomy }, 'new'), {
    code: 'EISDIR',
    syscall: 'rename',
  });
  await writeTrusted({ base, folder: base, name: 'list', ...roomy }, 'new');

  t.strictSame(readdirSync(base).sort(), ['folder', 'list']);
  t.equal((await readTrusted(base, 'list', 2)).piece.toString(), 'ne');
  t.equal((await readTrusted(base, 'folder', 10)).piece.length, 0);
});

t.test('of what killed writers have left behind the old is removed', async t => {
  const folder = t.testdir({ 'list.1': '', 'list.2': '', 'other.1': '' });
  chmodSync(folder, 0o700);
  const long = new Date(Date.now() - 7_200_000);
  for (const name of ['list.1', 'other.1']) utimesSync(`${folder}/${name}`, long, long);

  await writeTrusted({ base: folder, folder, name: 'list', ...roomy }, 'new');

  t.strictSame(readdirSync(folder).sort(), ['list', 'list.2', 'other.1']);
});

t.test('of a kind the oldest are removed until the others are within the limits', async t => {
  const name = 'kept-now';
  const cases = [
    { limits: { maxFiles: 3, maxBytes: 1000 }, stay: ['kept-1', 'kept-2'] },
    { limits: { maxFiles: 9, maxBytes: 215 }, stay: ['kept-1', 'kept-2'] },
    { limits: { maxFiles: 9, maxBytes: 214 }, stay: ['kept-1'] },
    { limits: { maxFiles: 1, maxBytes: 1000 }, stay: [] },
    { limits: { maxFiles: 9, maxBytes: 1 }, stay: [] },
  ];
  for (const { limits, stay } of cases) {
    const folder = t.testdir({ 'other-1': 'x'.repeat(500), 'kept-folder': {} });
    chmodSync(folder, 0o700);
    for (const age of [1, 2, 3, 4]) {
      const path = `${folder}/kept-${age}`;
      writeFileSync(path, 'x'.repeat(100));
      utimesSync(path, Date.now() / 1000 - age * 60, Date.now() / 1000 - age * 60);
    }

    await writeTrusted({ base: folder, folder, name, kind: 'kept-', ...limits }, 'y'.repeat(15));

    const left = [...stay, 'kept-folder', name, 'other-1'].sort();
    t.strictSame(readdirSync(folder).sort(), left, JSON.stringify(limits));
  }
});

t.test('many that write to the same at once: it is one of theirs, whole', async t => {
  const folder = t.testdir();
  chmodSync(folder, 0o700);
  const place = { base: folder, folder, name: 'list', ...roomy };
  const texts = Array.from({ length: 8 }, (_, at) => String(at).repeat(100_000));

  await Promise.all(texts.map(text => writeTrusted(place, text)));

  t.ok(texts.includes(readFileSync(`${folder}/list`, 'utf8')));
  t.strictSame(readdirSync(folder), ['list']);
});

t.test('a folder that must be there is not made', async t => {
  const base = `${t.testdir()}/home`;
  const place = { base, folder: `${base}/.cache/regroup`, name: 'list', ...roomy };

  await t.rejects(writeTrusted(place, ''), { code: 'ENOENT' });
  t.notOk(existsSync(base));
  mkdirSync(base);
  await writeTrusted(place, '');

  t.ok(existsSync(`${base}/.cache/regroup/list`));
});

t.test('lines are appended behind what is there, in the order of the calls', async t => {
  const base = t.testdir({ log: 'before\n' });

  t.strictSame(await appendLines(`${base}/log`, 'a\nb\n'), { bytes: 4 });
  t.strictSame(await appendLines(`${base}/log`, 'c\n'), { bytes: 2 });
  t.strictSame(await appendLines(`${base}/new`, 'd\n'), { bytes: 2 });
  closeAppended(`${base}/log`);
  closeAppended(`${base}/new`);

  t.equal(readFileSync(`${base}/log`, 'utf8'), 'before\na\nb\nc\n');
  t.equal(readFileSync(`${base}/new`, 'utf8'), 'd\n');
  t.strictSame(await appendLines(`${base}/no/log`, 'x\n'), { bytes: 0, code: 'ENOENT' });
  t.strictSame(await appendLines(base, 'x\n'), { bytes: 0, code: 'EISDIR' });
});

t.test('a pipe is not waited for: for no reader, and not until it has room', async t => {
  const base = t.testdir({});
  const fifo = `${base}/fifo`;
  execFileSync('mkfifo', [fifo]);

  t.strictSame(await appendLines(fifo, 'nobody hears\n'), { bytes: 0, code: 'ENXIO' });

  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const line = `${'x'.repeat(99_999)}\n`;
  const { bytes, code } = await appendLines(fifo, line);
  t.equal(code, 'EAGAIN');
  t.ok(bytes > 0 && bytes < line.length, String(bytes));
  let read = drain(reader);
  // As long as the rest of a line is to come, nothing comes between.
  while (read.length < line.length) {
    await appendLines(fifo, line.slice(read.length));
    read += drain(reader);
  }
  t.equal(read, line);
  closeAppended(fifo);
});

t.test('a full disk is told, and nothing of the line is there', async t => {
  t.strictSame(await appendLines('/dev/full', 'x\n'), { bytes: 0, code: 'ENOSPC' });
  closeAppended('/dev/full');
});

function drain(fd: number): string {
  const bytes = Buffer.alloc(200_000);
  let read = 0;
  try {
    for (let n = -1; n !== 0; read += n) n = readSync(fd, bytes, read, bytes.length - read, null);
  } catch {
    // EAGAIN: that was all.
  }
  return bytes.toString('latin1', 0, read);
}
t.test(
  'L-097 a named pipe takes the place of a file, for its owner alone, but not of a folder',
  async t => {
    const base = t.testdir({ file: 'of mktemp', folder: {} });

    await makeFifo(`${base}/file`);
    await makeFifo(`${base}/file`);

    t.ok(statSync(`${base}/file`).isFIFO());
    t.equal(statSync(`${base}/file`).mode & 0o777, 0o600);
    await t.rejects(makeFifo(`${base}/folder`), { code: 'EISDIR', syscall: 'unlink' });
    await t.rejects(makeFifo(`${base}/none/x`), { code: 'ENOENT', syscall: 'mkfifo' });
  },
);
