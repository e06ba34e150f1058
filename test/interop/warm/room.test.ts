import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type LimitedCgroup, limitedCgroup } from '../../cgroups.js';
import { type CliRun, startCli, startProgram } from '../../harness.js';
import { type Setting, setting } from './heavy.js';

// Standbys take no room that others need. Without torch.

t.setTimeout(600_000);

const noRoom = /restart without standby: .*; others are made later/;

/** A run whose workers wait until they're told to end, and have standbys at once, in a cgroup where one is given. */
function start(t: Test, made: Setting, cgroup?: LimitedCgroup): CliRun {
  const { python = '', env = {} } = made.options;
  const flags = ['--standby=auto', '--standby-after=0', '--nproc-per-node=2', '--max-restarts=3'];
  const script = [join(made.folder, 'train.py'), made.folder, 'more', '0'];
  return startCli(t, [...flags, ...script], {
    env: { ...env, PYTHON_EXEC: python, LOGLEVEL: 'INFO' },
    ...(cgroup ? { under: cgroup.under } : {}),
  });
}

async function endOf(t: Test, run: CliRun, { folder }: Setting): Promise<string> {
  writeFileSync(join(folder, 'crash-0'), '');
  const { code, stderr } = await run.ended;
  t.equal(code, 0, stderr);
  return stderr;
}

const cases = [
  { controller: 'memory', near: 300 << 20, far: 2000 << 20, why: /MB are taken of 315 MB in / },
  { controller: 'pids', near: 45, far: 500, why: /processes and threads of 45 in / },
] as const;

for (const { controller, near, far, why } of cases) {
  t.test(`near a limit of ${controller} none are made, before it is farther away`, async t => {
    const cgroup = limitedCgroup(t, controller, near);
    if (cgroup === undefined) return t.plan(0, `no cgroup of ${controller} can be made`);
    const made = setting(t, 'more', { 'more.py': '' });

    const run = start(t, made, cgroup);
    t.match(await run.line(noRoom), why);
    cgroup.setLimit(far);
    await run.line(/2 standbys wait for the next restart, with \d+ MB each at most/);

    t.equal((await endOf(t, run, made)).split(noRoom).length, 2, 'said once');
  });
}

t.test('while tasks wait for memory those that wait go, and come back', async t => {
  const cgroup = limitedCgroup(t, 'memory', 32 << 20);
  if (cgroup === undefined || !takesTriggers())
    return t.plan(0, 'no cgroup of memory can be made, or the kernel tells of no pressure');
  const made = setting(t, 'more', { 'more.py': '' });
  const run = start(t, made);
  await run.line(/2 standbys wait/);

  const file = join(made.folder, 'file');
  const program = ['python3', 'test/fixtures/thrashes.py', file];
  const thrashes = startProgram(t, program, { under: cgroup.under });
  t.match(await run.line(noRoom), /tasks wait for memory/);
  thrashes.kill('SIGKILL');
  await thrashes.ended;
  await run.line(/2 standbys wait/);

  await endOf(t, run, made);
});

function takesTriggers(): boolean {
  try {
    const fd = openSync('/proc/pressure/memory', 'r+');
    writeSync(fd, 'some 300000 2000000\0');
    closeSync(fd);
    return true;
  } catch {
    return false;
  }
}
