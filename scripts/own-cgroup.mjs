// A cgroup for one test file, so that what the file leaves can be told from what belongs to others:
// agents make their cgroups below their own, and no process gets out of one by losing its parent.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Hierarchies of version 1 that agents use, `''` for version 2. Not `cpu`: there a cgroup shares the
 * machine with each process outside as if it were one itself, and the file would starve.
 */
const hierarchies = ['', 'freezer', 'memory', 'pids'];
/** For guardians and process 1 on a busy machine, to remove cgroups and to take the dead away. */
const defaultPatienceMs = 20_000;

let made = 0;

/**
 * Makes it wherever it can be made, which may be nowhere.
 *
 * @returns `within(command)`, the command that runs in it; `cpuMs()`, what all have used that ever ran there, undefined
 *   where nothing counts it; and `remove()`, which gives what was left there after a while, processes and cgroups, having
 *   ended them
 */
export function ownCgroup() {
  const name = `test-file-${process.pid}-${made++}`;
  const folders = places()
    .map(place => join(place, name))
    .filter(isMade);
  const script = folders.map(folder => `echo $$ >'${folder}/cgroup.procs' && `).join('');
  return {
    within: command => ['sh', '-c', `${script}exec "$@"`, 'sh', ...command],
    cpuMs: () => folders.map(usedMs).find(used => used !== undefined),
    async remove(patienceMs = defaultPatienceMs) {
      const until = Date.now() + patienceMs;
      while (Date.now() < until && folders.some(hasContent)) await sleep(20);
      const left = folders.flatMap(contentOf);
      for (const folder of folders) await clear(folder);
      return [...new Set(left)];
    },
  };
}

/** Our own cgroup in each hierarchy, as far as it's mounted here. */
function places() {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const own = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  return hierarchies.flatMap(controller => {
    const path = own
      .map(line => /^\d+:([^:]*):(.*)$/.exec(line))
      .find(match => match?.[1].split(',').includes(controller))?.[2];
    const mount = mounts.find(line =>
      controller === ''
        ? / - cgroup2 /.test(line)
        : new RegExp(` - cgroup .*\\b${controller}\\b`).test(line),
    );
    const place = mount && path !== undefined && join(mount.split(' ')[4], path);
    return place && existsSync(place) ? [place] : [];
  });
}

function isMade(folder) {
  try {
    mkdirSync(folder);
    return true;
  } catch {
    return false; // not root, or not ours
  }
}

function below(folder) {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter(entry => entry.isDirectory()).map(entry => join(folder, entry.name));
  } catch {
    return []; // gone meanwhile
  }
}

function processesIn(folder) {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

function hasContent(folder) {
  return processesIn(folder).length > 0 || below(folder).length > 0;
}

function contentOf(folder) {
  const processes = processesIn(folder).map(pid => `process ${pid} (${commandOf(pid)})`);
  return [...processes, ...below(folder).flatMap(child => [child, ...contentOf(child)])];
}

function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return 'gone';
  }
}

/** Version 2 counts it whether or not there's a controller for it. */
function usedMs(folder) {
  try {
    const used = /^usage_usec (\d+)$/m.exec(readFileSync(join(folder, 'cpu.stat'), 'utf8'));
    return used ? Number(used[1]) / 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** With all that's below, its processes killed. One that nobody can remove is left: it was told. */
async function clear(folder) {
  for (const child of below(folder)) await clear(child);
  for (let tries = 0; tries < 500; tries++) {
    for (const pid of processesIn(folder)) kill(Number(pid));
    try {
      return rmdirSync(folder);
    } catch {
      if (!existsSync(folder)) return;
      thaw(folder);
      await sleep(10);
    }
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already, which is all that's wanted.
  }
}

/** The dead don't leave a freezer. */
function thaw(folder) {
  const file = join(folder, 'freezer.state');
  try {
    if (existsSync(file)) writeFileSync(file, 'THAWED');
  } catch {
    // Gone meanwhile.
  }
}
