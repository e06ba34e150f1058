import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { watchFile } from '../../lib/agent/notice-file.js';

/** Resolves when the file is told to be there; the test's time limit bounds it. */
function noticed(t: Test, path: string): Promise<void> {
  // A watch alone doesn't keep Node alive.
  const awake = setInterval(() => {}, 10_000);
  return new Promise(resolve => {
    const watcher = watchFile(path, resolve);
    watcher.look();
    t.teardown(() => {
      watcher.close();
      clearInterval(awake);
    });
  });
}

t.test('a file that is there already is noticed, and one that appears', async t => {
  const folder = t.testdir({ there: '' });

  await noticed(t, join(folder, 'there'));
  const soon = noticed(t, join(folder, 'soon'));
  writeFileSync(join(folder, 'other'), '');
  writeFileSync(join(folder, 'soon'), '');

  await t.resolves(soon);
});

t.test('F-F18: the target of a link that led nowhere is noticed when it appears', async t => {
  const folder = t.testdir({ watched: {}, target: {} });
  symlinkSync('../target/notice', join(folder, 'watched/file'));
  const notice = noticed(t, join(folder, 'watched/file'));

  writeFileSync(join(folder, 'target/notice'), '');

  await t.resolves(notice);
});

t.test('F-F18: even where the folder of the target has to be made first', async t => {
  const folder = t.testdir({ watched: {} });
  symlinkSync(join(folder, 'a/b/notice'), join(folder, 'watched/file'));
  const notice = noticed(t, join(folder, 'watched/file'));

  mkdirSync(join(folder, 'a'));
  mkdirSync(join(folder, 'a/b'));
  writeFileSync(join(folder, 'a/b/notice'), '');

  await t.resolves(notice);
});

t.test('F-F18: a folder that is moved away and made anew is watched again', async t => {
  const folder = t.testdir({ watched: {} });
  const notice = noticed(t, join(folder, 'watched/file'));

  renameSync(join(folder, 'watched'), join(folder, 'old'));
  mkdirSync(join(folder, 'watched'));
  writeFileSync(join(folder, 'watched/file'), '');

  await t.resolves(notice);
});

t.test('F-F18: so is one that is removed, however late it comes back', async t => {
  const folder = t.testdir({ watched: {}, other: {} });
  const notice = noticed(t, join(folder, 'watched/file'));
  const beside = noticed(t, join(folder, 'other/file'));

  rmSync(join(folder, 'watched'), { recursive: true });
  writeFileSync(join(folder, 'other/file'), '');
  // Whatever has to be told of the removal has been told before this.
  await beside;
  mkdirSync(join(folder, 'watched'));
  writeFileSync(join(folder, 'watched/file'), '');

  await t.resolves(notice);
});

t.test('F-F18: the links of Kubernetes are followed when they are swapped', async t => {
  // As kubelet's atomic writer has it: file -> ..data/file, ..data -> ..first
  const folder = t.testdir({ volume: { '..first': {}, '..second': { file: '' } } });
  const volume = join(folder, 'volume');
  symlinkSync('..first', join(volume, '..data'));
  symlinkSync('..data/file', join(volume, 'file'));
  const notice = noticed(t, join(volume, 'file'));

  symlinkSync('..second', join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));

  await t.resolves(notice);
});

t.test('a link to itself is no file, and ends nothing', async t => {
  const folder = t.testdir({});
  symlinkSync('loop', join(folder, 'loop'));
  const notice = noticed(t, join(folder, 'loop'));

  rmSync(join(folder, 'loop'));
  writeFileSync(join(folder, 'loop'), '');

  await t.resolves(notice);
});

t.test('a folder that is not there is refused, and nothing stays open', async t => {
  const before = inotifyWatches();

  t.throws(() => watchFile('/nonexist/file', () => {}), {
    code: 'ERR_OPTION',
    message:
      /^preemptFile: "\/nonexist\/file" is not accepted; give a path in a folder that exists/,
  });
  const watcher = watchFile(join(t.testdir({}), 'file'), () => {});
  watcher.close();

  t.equal(inotifyWatches(), before);
});

/** How many folders this process watches. */
function inotifyWatches(): number {
  const own = readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:inotify';
    } catch {
      return false; // the one that the folder was read by
    }
  });
  const info = own.map(fd => readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  return info.join('').match(/^inotify wd/gm)?.length ?? 0;
}
