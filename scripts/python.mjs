// Finds the interpreters that the examples and tests run: one with the newest PyTorch, and, where
// the system has it, one with 1.13. Prepares the first in .venv if there is none.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { capture, main, say } from './steps.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const venv = join(root, '.venv');
/** In a .venv of ours, so that nobody else's is ever changed or removed. */
const marker = join(venv, '.made-by-regroup');

/** The newest PyTorch that regroup is tested with. It needs Python 3.10 or newer. */
const torchVersion = '2.13.0';
const accelerateVersion = '1.15.0';
const lightningVersion = '2.6.6';

/**
 * Packages that only CUDA builds need, at a version that doesn't exist: with these constraints pip
 * takes a build for CPUs or none, instead of gigabytes that the tests have no use for.
 */
const noCuda = ['nvidia-cublas', 'nvidia-cuda-runtime', 'nvidia-cudnn']
  .flatMap(name => [name, `${name}-cu11`, `${name}-cu12`, `${name}-cu13`])
  .concat('cuda-toolkit', 'cuda-bindings')
  .map(name => `${name}<0`);

const advice = [
  'Then one of these helps; each is read by `npm install` and `npm test`:',
  '  REGROUP_PYTHON=/path/to/python   an interpreter that has torch',
  "  PIP_EXTRA_INDEX_URL=…            an index with CPU builds; PyTorch's start page names one",
  '  REGROUP_TORCH=torch              what your index offers, even if that brings CUDA along',
].join('\n');

/**
 * The interpreters there are: `newest` and `old`, each `{ path, torch }` or undefined.
 *
 * `newest` is REGROUP_PYTHON, else the active virtualenv, else ./.venv, the first that has torch.
 * `old` is REGROUP_PYTHON_OLD, else /usr/bin/python3 if it has a torch below 2.
 */
export function findPythons() {
  return { newest: findNewest(), old: findOld() };
}

/** The same, after an attempt to prepare what's missing. `problem` says what is still missing. */
export function preparePythons() {
  const found = findPythons();
  if (found.newest) {
    say(`PyTorch ${found.newest.torch} at ${found.newest.path}`);
    return found;
  }
  if (process.env.REGROUP_PYTHON) {
    return { ...found, problem: `REGROUP_PYTHON=${process.env.REGROUP_PYTHON} can't import torch` };
  }
  if (existsSync(venv) && !existsSync(marker)) {
    return { ...found, problem: `.venv is there and has no torch; install it there\n${advice}` };
  }

  const problem = installTorch();
  return problem ? { ...found, problem } : findPythons();
}

/** An interpreter that has accelerate and the newest PyTorch, for tests of tools that launch by themselves. As `prepareLayer`. */
export function prepareAccelerate() {
  return prepareLayer(`accelerate-${accelerateVersion}`, [`accelerate==${accelerateVersion}`]);
}

/** One that has Lightning, and what its examples import. As `prepareLayer`. */
export function prepareLightning() {
  return prepareLayer(`lightning-${lightningVersion}`, [
    `lightning==${lightningVersion}`,
    'requests',
  ]);
}

/**
 * A virtualenv of ours, in build/, with packages on top of the newest interpreter. Made on first use, by each that
 * asks meanwhile in a folder of its own: the first that's complete is everybody's. Gives its `path`, or the `problem`.
 */
function prepareLayer(name, packages) {
  const below = findNewest();
  if (!below) return { problem: 'no newest PyTorch' };
  const record = join(root, 'build', `${name}.json`);
  const complete = () => {
    const found = existsSync(record) ? JSON.parse(readFileSync(record, 'utf8')) : {};
    return found.below === below.path && existsSync(found.path) ? { path: found.path } : undefined;
  };
  const before = complete();
  if (before) return before;

  mkdirSync(dirname(record), { recursive: true });
  const layer = mkdtempSync(join(root, 'build', `${name}-`));
  const made = makeLayer(layer, below, packages);
  const others = complete();
  if (made.problem || others) {
    rmSync(layer, { recursive: true, force: true });
    return others ?? { problem: `${name} can't be had: ${made.problem}` };
  }
  writeFileSync(join(layer, 'record.json'), JSON.stringify({ below: below.path, path: made.path }));
  renameSync(join(layer, 'record.json'), record);
  return made;
}

function makeLayer(layer, below, packages) {
  const path = join(layer, 'bin/python');
  const made = capture(below.path, ['-m', 'venv', layer]);
  if (!made.ok) return { problem: `-m venv failed:\n${tail(made)}` };
  const folders = python =>
    capture(python, ['-c', 'import sysconfig; print(sysconfig.get_paths()["purelib"])']);
  writeFileSync(join(folders(path).stdout.trim(), 'below.pth'), folders(below.path).stdout);
  const args = ['-m', 'pip', 'install', '--retries', '0', '--disable-pip-version-check'];
  const installed = capture(path, [...args, ...packages]);
  return installed.ok ? { path } : { problem: `pip install failed:\n${tail(installed)}` };
}

/** The version of torch that an interpreter has, read without the seconds of importing it. */
function torchOf(python) {
  const { ok, stdout } = capture(
    python,
    [
      '-c',
      'import importlib.util, os, runpy\n' +
        'origin = importlib.util.find_spec("torch").origin\n' +
        'path = os.path.join(os.path.dirname(origin), "version.py")\n' +
        'print(runpy.run_path(path)["__version__"])',
    ],
    { cwd: '/' },
  );
  return ok ? stdout.trim() : undefined;
}

function asPython(path) {
  const torch = path && torchOf(path);
  return torch ? { path, torch } : undefined;
}

function findNewest() {
  if (process.env.REGROUP_PYTHON) return asPython(process.env.REGROUP_PYTHON);
  const folders = [process.env.VIRTUAL_ENV, venv].filter(Boolean);
  return folders.map(folder => asPython(join(folder, 'bin/python'))).find(Boolean);
}

function findOld() {
  if (process.env.REGROUP_PYTHON_OLD) return asPython(process.env.REGROUP_PYTHON_OLD);
  const system = asPython('/usr/bin/python3');
  return system && Number.parseInt(system.torch, 10) < 2 ? system : undefined;
}

/** Makes .venv and installs torch into it. Gives the problem, or undefined if it went well. */
function installTorch() {
  const base = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10'].find(
    name => capture(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 10))']).ok,
  );
  if (!base)
    return `no Python 3.10 or newer on PATH, which PyTorch ${torchVersion} needs\n${advice}`;

  say(`making .venv with PyTorch for CPUs (some 200 MB; REGROUP_PYTHON=… uses yours instead)`);
  const made = capture(base, ['-m', 'venv', venv]);
  if (!made.ok) {
    rmSync(venv, { recursive: true, force: true });
    return `${base} -m venv .venv failed (Debian has it in python3-venv):\n${tail(made)}\n${advice}`;
  }
  writeFileSync(marker, '');

  const temp = mkdtempSync(join(tmpdir(), 'regroup-pip-'));
  try {
    const constraints = join(temp, 'constraints.txt');
    writeFileSync(constraints, `${noCuda.join('\n')}\n`);
    const asked = process.env.REGROUP_TORCH;
    const attempts = asked
      ? [[asked]]
      : [
          [`torch==${torchVersion}+cpu`],
          // fast-deps: pips before 23.2 would load a whole wheel only to learn that it needs CUDA.
          [`torch==${torchVersion}`, '--use-feature=fast-deps', '--constraint', constraints],
        ];

    let last;
    for (const attempt of attempts) {
      last = pipInstall([...attempt, 'numpy']);
      if (last.ok) {
        say(`installed ${attempt[0]} in ${last.seconds.toFixed(0)} s`);
        return undefined;
      }
    }
    // Left there, an empty .venv would be the interpreter that regroup finds first.
    rmSync(venv, { recursive: true, force: true });
    return `no PyTorch for CPUs could be installed:\n${tail(last)}\n${advice}`;
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

function pipInstall(what) {
  say(`pip install ${what[0]} numpy …`);
  const args = ['-m', 'pip', 'install', '--retries', '0', '--disable-pip-version-check', ...what];
  // People at a terminal see pip's own progress; a log gets the two lines of ours.
  const stdio = process.stdout.isTTY ? ['ignore', 'inherit', 'pipe'] : ['ignore', 'pipe', 'pipe'];
  return capture(join(venv, 'bin/python'), args, { stdio });
}

function tail({ stdout, stderr }) {
  const lines = (stderr.trim() || stdout.trim()).split('\n');
  return lines
    .slice(-8)
    .map(line => `  ${line}`)
    .join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(async () => {
    const { problem } = preparePythons();
    if (problem) say(problem);
    process.exitCode = problem ? 1 : 0;
  });
}
