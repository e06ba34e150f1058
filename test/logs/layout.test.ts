import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import {
  attemptFiles,
  createAttempt,
  createRunFolder,
  logBase,
  plannedRunFolder,
  removeTempBase,
  safeRunId,
  workerFiles,
} from '../../lib/logs/layout.js';
import { createDisk } from '../../lib/system/disk.js';

const disk = createDisk();

t.test('L-070 the tree has torchrun’s names', async t => {
  const base = t.testdir();

  const run = await createRunFolder({ kind: 'given', path: base }, 'job', disk);
  const files = attemptFiles(run?.path ?? '', 2, 2);
  await createAttempt(run?.path ?? '', 2, files, disk);

  t.match(run?.path.slice(base.length), /^\/job_[a-z0-9_]{8}$/);
  t.strictSame(files[1], workerFiles(`${run?.path}/attempt_2`, 1));
  t.strictSame(files[1], {
    folder: `${run?.path}/attempt_2/1`,
    stdout: `${run?.path}/attempt_2/1/stdout.log`,
    stderr: `${run?.path}/attempt_2/1/stderr.log`,
    errorFile: `${run?.path}/attempt_2/1/error.json`,
    filteredStdout: `${run?.path}/attempt_2/filtered_stdout.log`,
    filteredStderr: `${run?.path}/attempt_2/filtered_stderr.log`,
  });
  t.strictSame(readdirSync(`${run?.path}/attempt_2`), ['0', '1']);
});

t.test(
  'without a log dir there is a new folder in the temp dir, and both random levels are private',
  async t => {
    const temp = t.testdir();

    const run = await createRunFolder(logBase(undefined, '/', { TMPDIR: temp }), 'job', disk);

    t.match(run?.tempBase?.slice(temp.length), /^\/torchelastic_[a-z0-9_]{8}$/);
    t.ok(run?.path.startsWith(`${run.tempBase}/job_`));
    t.equal(statSync(run?.tempBase ?? '').mode & 0o777, 0o700);
    t.equal(statSync(run?.path ?? '').mode & 0o777, 0o700);
  },
);

t.test('the temp dir is the one that Python would take', t => {
  const parents = (env: Record<string, string>): readonly string[] => {
    const base = logBase('', '/job', env);
    return base.kind === 'temp' ? base.parents : [];
  };
  t.strictSame(parents({}), ['/tmp', '/var/tmp', '/usr/tmp', '/job']);
  t.equal(parents({ TMPDIR: '/a', TEMP: '/b' })[0], '/a');
  t.equal(parents({ TMPDIR: '', TEMP: '/b' })[0], '/b');
  t.equal(parents({ TMP: 'c' })[0], '/job/c');
  t.end();
});

t.test('a temp dir that takes no folder is passed over', async t => {
  const temp = t.testdir({ file: '' });
  const run = await createRunFolder(
    { kind: 'temp', parents: [`${temp}/file`, `${temp}/gone`, temp] },
    'j',
    disk,
  );
  t.ok(run?.tempBase?.startsWith(`${temp}/torchelastic_`));
});

t.test('/dev/null means no files', async t => {
  const base = logBase('/dev/null', '/', {});
  t.equal(base.kind, 'none');
  t.equal(await createRunFolder(base, 'job', disk), undefined);
  t.equal(plannedRunFolder(base, 'job'), undefined);
});

t.test('a log dir that is a file, or below one, is named', async t => {
  const folder = t.testdir({ file: '' });
  for (const path of [`${folder}/file`, `${folder}/file/below/it`]) {
    await t.rejects(createRunFolder({ kind: 'given', path }, 'job', disk), {
      code: 'ERR_LOG_DIR',
      message: `log_dir: ${folder}/file is a file; name a folder`,
    });
  }
});

t.test('a log dir that may not be made says so', async t => {
  await t.rejects(createRunFolder({ kind: 'given', path: '/proc/regroup' }, 'job', disk), {
    code: 'ERR_LOG_DIR',
    message: /^log_dir: \/proc\/regroup can't be made: /,
  });
});

t.test('a relative log dir is made absolute, since workers may go elsewhere', t => {
  t.strictSame(logBase('logs', '/job', {}), { kind: 'given', path: '/job/logs' });
  t.end();
});

t.test('run ids become one safe name', t => {
  for (const [runId, expected] of [
    ['job-7', 'job-7'],
    ['a/b/c', 'a_b_c'],
    ['../x', '___x'],
    ['..', '__'],
    ['', ''],
    ['ä'.repeat(200), 'ä'.repeat(100)],
    [`x${'ä'.repeat(200)}`, `x${'ä'.repeat(99)}`],
  ] as const) {
    t.equal(safeRunId(runId), expected);
  }
  t.end();
});

t.test('L-071 an attempt that is there already keeps its logs', async t => {
  const run = t.testdir({ attempt_0: { 0: { 'stdout.log': 'old' } } });
  await createAttempt(run, 0, attemptFiles(run, 0, 2), disk);
  t.equal(statSync(`${run}/attempt_0/0/stdout.log`).size, 3);
  t.ok(existsSync(`${run}/attempt_0/1`));
});

t.test('an attempt that is a file is named', async t => {
  const run = t.testdir({ attempt_0: 'a file' });
  await t.rejects(createAttempt(run, 0, attemptFiles(run, 0, 1), disk), {
    code: 'ERR_LOG_DIR',
    message: /attempt_0 is a file/,
  });
});

t.test('only a folder of ours in the temp dir is removed', async t => {
  const temp = t.testdir({ logs: {} });
  const ours = await createRunFolder({ kind: 'temp', parents: [temp] }, 'job', disk);
  const theirs = await createRunFolder({ kind: 'given', path: `${temp}/logs` }, 'job', disk);
  mkdirSync(`${ours?.path}/attempt_0`);
  writeFileSync(`${ours?.path}/attempt_0/error.json`, '');

  if (ours !== undefined) await removeTempBase(ours, disk);
  if (theirs !== undefined) await removeTempBase(theirs, disk);

  t.strictSame(readdirSync(temp), ['logs']);
  t.equal(readdirSync(`${temp}/logs`).length, 1);
});

t.test('a plan has X where chance decides', async t => {
  t.equal(plannedRunFolder({ kind: 'given', path: '/logs' }, 'a/b'), '/logs/a_b_XXXXXXXX');
  t.equal(
    plannedRunFolder(logBase(undefined, '/', {}), 'j'),
    '/tmp/torchelastic_XXXXXXXX/j_XXXXXXXX',
  );
});
