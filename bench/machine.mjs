// What a benchmark runs on: this checkout, compilers, interpreters, the machine.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { placeCommands } from '../scripts/test-build.mjs';

export const benchDir = path.dirname(fileURLToPath(import.meta.url));
export const repo = path.dirname(benchDir);
const buildDir = path.join(repo, 'build', 'bench');
export const workersDir = path.join(benchDir, 'workers');
/** Of this checkout, or of another one that REGROUP_BENCH_ROOT names, to compare two builds. */
export const regroupRoot = process.env.REGROUP_BENCH_ROOT ?? repo;
export const regroupBin = path.join(regroupRoot, 'dist', 'bin', 'regroup.cjs');
/** The command as npm installs it, with the front program first; by Node alone in a checkout that has none. */
export function regroupCommand(root = regroupRoot) {
  const folder = placeCommands(root);
  return folder === undefined
    ? [process.execPath, path.join(root, 'dist', 'bin', 'regroup.cjs')]
    : [path.join(folder, 'regroup')];
}

/**
 * Compiles a C file of bench/, or all those of a folder, into build/bench/, unless that's newer.
 *
 * @param shared as a library, to be preloaded
 * @param libraries what it's linked with
 */
export function compile(source, { shared = false, libraries = [] } = {}) {
  const from = path.join(benchDir, source);
  const folder = !source.endsWith('.c');
  const files = folder ? fs.readdirSync(from).map(name => path.join(from, name)) : [from];
  const to = path.join(buildDir, path.basename(source, '.c') + (shared ? '.so' : ''));
  const headers = fs.readdirSync(benchDir).filter(name => name.endsWith('.h'));
  if (isNewer(to, [...files, ...headers.map(name => path.join(benchDir, name))])) return to;
  const flags = ['-O2', '-Wall', '-Wextra', '-Wno-missing-field-initializers', '-D_GNU_SOURCE'];
  const kind = shared ? ['-shared', '-fPIC'] : ['-static'];
  const sources = files.filter(file => file.endsWith('.c'));
  execFileSync('cc', [...flags, ...kind, '-o', to, ...sources, ...libraries], { stdio: 'inherit' });
  return to;
}

/** Compiles a C++ file of bench/ with the addon's objects of those folders of native/core. */
export function compileWithCore(source, folders) {
  const from = path.join(benchDir, source);
  const to = path.join(buildDir, path.basename(source, '.cc'));
  const core = folders.flatMap(folder => {
    const built = path.join(regroupRoot, 'build/Release/obj.target/regroup/native/core', folder);
    const objects = fs.readdirSync(built).filter(name => name.endsWith('.o'));
    return objects.map(name => path.join(built, name));
  });
  if (isNewer(to, [from, ...core])) return to;
  const flags = ['-O2', '-std=c++20', '-fno-exceptions', '-fno-rtti', '-pthread'];
  const include = ['-I', path.join(regroupRoot, 'native')];
  execFileSync('c++', [...flags, ...include, '-o', to, from, ...core], { stdio: 'inherit' });
  return to;
}

function isNewer(built, sources) {
  fs.mkdirSync(buildDir, { recursive: true });
  if (!fs.existsSync(built)) return false;
  const { mtimeMs } = fs.statSync(built);
  return sources.every(source => fs.statSync(source).mtimeMs < mtimeMs);
}

/** All launchers and workers run this interpreter itself, not a pyenv shim (which costs 20 ms a start). */
export const python = path.join(
  process.env.VIRTUAL_ENV ?? path.join(repo, '.venv'),
  'bin',
  'python',
);
export const systemPython = process.env.REGROUP_BENCH_TORCH_1_13 ?? '/usr/bin/python3';

export function pythonVersion(interpreter) {
  try {
    const code =
      'import platform, torch; print(platform.python_version(), torch.__version__.split("+")[0])';
    const [version, torch] = execFileSync(interpreter, ['-c', code], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .trim()
      .split(' ');
    return { python: version, torch };
  } catch {
    return undefined; // no such interpreter, or no torch in it: the caller says so
  }
}

/** What launchers and workers inherit: ours, without what only Node 20 pays for (bench/README.md). */
export function environment(extra) {
  const { NODE_EXTRA_CA_CERTS, NODE_OPTIONS, ...env } = process.env;
  return {
    ...env,
    VIRTUAL_ENV: path.dirname(path.dirname(python)),
    PYTHON_EXEC: python,
    // The one that runs the benchmarks; two builds are compared on the same.
    REGROUP_NODE: process.execPath,
    OMP_NUM_THREADS: '1',
    ...extra,
  };
}

export function machine(launchers) {
  const versions = pythonVersion(python);
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${os.cpus().length} × ${os.cpus()[0].model.trim()}`,
    memoryGb: Math.round(os.totalmem() / 2 ** 30),
    gpu: gpuName(),
    kernel: os.release(),
    glibc: process.report?.getReport().header.glibcVersionRuntime,
    node: process.version,
    python: versions?.python,
    torch: versions?.torch,
    commit: commit(),
    launchers: launchers.map(l => l.label),
    loadBefore: os.loadavg().map(load => Math.round(load * 100) / 100),
  };
}

/** Of the first NVIDIA GPU; undefined where there's none. */
function gpuName() {
  const args = ['--query-gpu=name', '--format=csv,noheader'];
  try {
    return execFileSync('nvidia-smi', args, { encoding: 'utf8' }).split('\n')[0];
  } catch {
    return undefined;
  }
}

function commit() {
  const options = { cwd: repo, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
  try {
    const hash = execFileSync('git', ['rev-parse', '--short', 'HEAD'], options).trim();
    return execFileSync('git', ['status', '--porcelain'], options) ? `${hash} with changes` : hash;
  } catch {
    return 'no commit'; // a tarball, or a repository without one
  }
}
