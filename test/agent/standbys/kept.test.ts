import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import {
  type Kept,
  keptFrom,
  keptPlace,
  loadKept,
  saveKept,
  textFor,
  whyNotKept,
} from '../../../lib/agent/standbys/kept.js';
import type { Job } from '../../../lib/workers/job.js';

const kept: Kept = { modules: ['json', 'torch.nn'], replays: false, own: [], files: ['/x.py'] };

function job(env: Record<string, string>, python = '/bin/python'): Job {
  const settings = { entrypoint: { script: 'train.py' } };
  // Of a job this asks for nothing else.
  return { settings, env, cwd: '/work', python: { path: python } } as unknown as Job;
}

// Node stays for none of this, and tests wait for it.
const stays = setInterval(() => {}, 1 << 30);
t.teardown(() => clearInterval(stays));

t.test('what is written is read, and the whole of it', async t => {
  const folder = join(t.testdir(), 'a/b/regroup');
  const place = { base: dirname(t.testdirName), folder, name: 'imports-x.json' };
  const script = join(t.testdirName, 'train.py');
  writeFileSync(script, '1');
  const { mtimeNs } = statSync(script, { bigint: true });
  const own = [{ path: script, mark: `${mtimeNs}:1` }];

  t.equal(await loadKept(place), undefined, 'at first there is none');
  await saveKept(place, { ...kept, own });

  t.strictSame(await loadKept(place), { kept: { ...kept, own }, isCurrent: true });
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(join(folder, place.name)).mode & 0o777, 0o600);
  t.strictSame(readdirSync(folder), [place.name], 'and nothing beside it');

  writeFileSync(script, '22');
  t.match(await loadKept(place), { isCurrent: false }, 'an edited script is learned anew');
});

t.test('a list that somebody else could have written is refused, and stays as it is', async t => {
  const name = 'imports-x.json';
  const asRoot = process.getuid?.() === 0;
  const cases: readonly (readonly [what: string, spoil: (folder: string) => void])[] = [
    ['a folder that all may write to', folder => chmodSync(folder, 0o777)],
    ['a folder of a group', folder => chmodSync(folder, 0o770)],
    ['a file that all may write to', folder => chmodSync(join(folder, name), 0o666)],
    ...(asRoot
      ? ([
          ['a stranger’s folder', (folder: string) => chownSync(folder, 12345, 12345)],
          ['a stranger’s file', (folder: string) => chownSync(join(folder, name), 12345, 12345)],
        ] as const)
      : []),
  ];
  for (const [what, spoil] of cases) {
    const folder = join(t.testdir(), 'regroup');
    const place = { base: dirname(t.testdirName), folder, name };
    await saveKept(place, kept);
    spoil(folder);

    const error = await loadKept(place).catch((error: unknown) => error);

    t.match(whyNotKept(error, place), /somebody else can write to/, what);
    if (!what.includes('folder')) continue;
    const refused = saveKept(place, { ...kept, modules: [] });
    await t.rejects(refused, { code: 'EPERM', syscall: 'trust' });
    t.match(readFileSync(join(folder, name), 'utf8'), 'torch.nn', what);
  }
});

t.test('a link in the place of a list is not followed', async t => {
  const folder = join(t.testdir(), 'regroup');
  const place = { base: dirname(t.testdirName), folder, name: 'imports-x.json' };
  mkdirSync(folder, { mode: 0o700 });
  const target = join(t.testdirName, 'target');
  writeFileSync(target, textFor(kept));
  symlinkSync(target, join(folder, place.name));

  await t.rejects(loadKept(place), { code: 'ELOOP' });
  await saveKept(place, { ...kept, modules: ['csv'] });

  t.match(readFileSync(target, 'utf8'), 'torch.nn', 'nor written through');
  t.match(await loadKept(place), { kept: { modules: ['csv'] } });
});

t.test('what is no list is said to be none', async t => {
  const whole = textFor(kept);
  const spoilt = [
    '',
    '{',
    'null',
    '[]',
    whole.slice(0, -1),
    whole.replace('"version":1', '"version":2'),
    whole.replace('torch.nn', 'torch; import os'),
    whole.replace('"/x.py"', '7'),
    whole.replace('"/x.py"', '"x.py"'),
    whole.replace('"own":[]', '"own":[{"path":"/x"}]'),
    whole.replace('"replays":false', '"replays":"no"'),
  ];
  for (const text of spoilt) t.equal(keptFrom(text), undefined, text);

  const folder = t.testdir();
  chmodSync(folder, 0o700);
  const place = { base: dirname(t.testdirName), folder, name: 'imports-x.json' };
  writeFileSync(join(folder, place.name), whole.slice(0, -1), { mode: 0o600 });
  await t.rejects(loadKept(place), { message: /is no such list/ });
});

t.test('modules that are known to be unsafe by now are left away', async t => {
  t.match(keptFrom(textFor({ ...kept, modules: ['csv', 'mpi4py.MPI'] })), { modules: ['csv'] });
});

t.test('a list has no more files than can be read again', async t => {
  const files = Array.from({ length: 40_000 }, (_, at) => `/usr/lib/${'x'.repeat(40)}/${at}`);

  const text = textFor({ ...kept, files });

  t.ok(Buffer.byteLength(text) <= 1 << 20);
  t.ok((keptFrom(text)?.files.length ?? 0) > 10_000);
});

t.test('a disk that is full, and a folder that cannot be: the reason is told', async t => {
  const base = t.testdir({ file: '' });
  for (const [folder, reason] of [
    [join(base, 'file/regroup'), /ENOTDIR/],
    ['/proc/regroup', /ENOENT|EACCES|EPERM/],
  ] as const) {
    const place = { base: dirname(t.testdirName), folder, name: 'x' };
    const error = await saveKept(place, kept).catch((error: unknown) => error);

    t.match(whyNotKept(error, place), reason);
  }
});

t.test('each script, interpreter and Python setting has a list of its own', async t => {
  const base = { HOME: '/home/u', PATH: '/bin' };
  const place = keptPlace(job(base));
  const nameOf = (env: Record<string, string>, python?: string) =>
    keptPlace(job({ ...base, ...env }, python))?.name;

  t.match(place, {
    base: '/home/u',
    folder: '/home/u/.cache/regroup',
    name: /^imports-[0-9a-f]{16}\.json$/,
  });
  t.equal(nameOf({ PATH: '/usr/bin', SLURM_JOB_ID: '7' }), place?.name);
  t.not(nameOf({ PYTHONPATH: '/x' }), place?.name);
  t.not(nameOf({ VIRTUAL_ENV: '/x' }), place?.name);
  t.not(nameOf({}, '/usr/bin/python'), place?.name);
});

t.test('the folder is the user’s, and no other that depends on where we are', async t => {
  const folderOf = (env: Record<string, string>) => keptPlace(job(env))?.folder;

  t.equal(folderOf({ HOME: '/h', XDG_CACHE_HOME: '/c' }), '/c/regroup');
  t.equal(folderOf({ HOME: '/h', XDG_CACHE_HOME: 'c' }), '/h/.cache/regroup');
  t.equal(folderOf({ HOME: '/h', REGROUP_CACHE_DIR: '/own' }), '/own');
  t.equal(folderOf({ HOME: '' }), undefined);
});

t.test('where the working directory has gone nothing is kept', async t => {
  const was = process.cwd();
  const gone = join(t.testdir(), 'gone');
  mkdirSync(gone);
  process.chdir(gone);
  rmSync(gone, { recursive: true });
  const [unknown, given] = [{ ...job({ HOME: '/h' }), cwd: undefined }, job({ HOME: '/h' })];
  const places = [keptPlace(unknown), keptPlace(given)];
  process.chdir(was);

  t.match(places, [undefined, { folder: '/h/.cache/regroup' }]);
});
