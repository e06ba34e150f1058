import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { root, type Torch } from './torch.js';

/** A launcher's command line, and what it finds around it. */
export interface Launch {
  readonly kind: 'run' | 'launch';
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in that folder to its end. */
export type Launcher = (folder: string, launch: Launch) => Promise<Ended>;

/** PyTorch's own launchers. One process with torch imported turns into each of them by fork. */
export function torchLauncher(t: Test, torch: Torch): Launcher {
  const server = spawn(torch.python, [join(root, 'test/interop/torchruns.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => server.stdin.end());
  const waiting = new Map<number, (code: number) => void>();
  let lastId = 0;
  createInterface({ input: server.stdout }).on('line', line => {
    const { id, code } = JSON.parse(line) as { id: number; code: number };
    waiting.get(id)?.(code);
  });

  return async (folder, launch) => {
    const id = ++lastId;
    const { cwd, env, stdio } = prepare(folder, torch, launch);
    const ended = new Promise<number>(resolve => waiting.set(id, resolve));
    const request = { id, module: launch.kind, args: launch.args, env, cwd, stdio };
    server.stdin.write(`${JSON.stringify(request)}\n`);
    return { code: await ended, ...outputOf(stdio) };
  };
}

/** Ours, with that PyTorch's interpreter the first on PATH. */
export function regroupLauncher(torch: Torch): Launcher {
  return async (folder, launch) => {
    const { cwd, env, stdio } = prepare(folder, torch, launch);
    const bin = launch.kind === 'run' ? 'regroup' : 'regroup-launch';
    const [stdin, stdout, stderr] = stdio;
    const files = [openSync(stdin, 'r'), openSync(stdout, 'a'), openSync(stderr, 'a')];
    const child = spawn(join(root, 'build/bin', bin), launch.args, {
      cwd,
      env,
      stdio: files,
    });
    for (const file of files) closeSync(file);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    return { code, ...outputOf(stdio) };
  };
}

type Stdio = readonly [stdin: string, stdout: string, stderr: string];

function prepare(folder: string, torch: Torch, launch: Launch) {
  const [cwd, temp] = [join(folder, 'cwd'), join(folder, 'temp')];
  for (const path of [cwd, temp]) mkdirSync(path, { recursive: true });
  const stdio: Stdio = [join(folder, 'stdin'), join(folder, 'stdout'), join(folder, 'stderr')];
  writeFileSync(stdio[0], launch.input ?? '');
  const env = {
    PATH: `${dirname(torch.python)}:/usr/bin:/bin`,
    // Ours runs on it; both hand it on.
    REGROUP_NODE: process.execPath,
    HOME: folder,
    // Set, so that Python's own coercion of LC_CTYPE plays no part.
    LC_ALL: 'C.UTF-8',
    PYTHONDONTWRITEBYTECODE: '1',
    TMPDIR: temp,
    ...launch.env,
  };
  return { cwd, env, stdio };
}

function outputOf([, stdout, stderr]: Stdio) {
  return { stdout: readFileSync(stdout, 'utf8'), stderr: readFileSync(stderr, 'utf8') };
}
