// lib/ → dist/: ES modules with types for importers, two CommonJS files for each command (bundle.mjs), and what starts it.
//
// A command is so few files because that is what starts fastest: twenty modules cost 12 ms, the ES module loader another 6
// to 13. A third, small one starts it, as V8 has compiled it before.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './steps.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const commands = {
  'lib/cli/main.ts': 'regroup',
  'lib/cli/launch-main.ts': 'regroup-launch',
  'lib/cli/store-main.ts': 'regroup-store',
};

export const commandNames = Object.values(commands);

/** Builds dist/ anew: what's left of sources that are gone would be shipped. */
export async function buildTs() {
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  run('node', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], { cwd: root });
  await bundle();
  copyPython(join(root, 'lib/preload'), join(root, 'dist/preload'));
  copyStarters();
}

/** What package.json calls the commands. `npm install` puts the front program in its place. */
function copyStarters() {
  for (const name of commandNames) {
    const starter = join(root, 'dist/bin', name);
    cpSync(join(root, 'native/front/front.sh'), starter);
    chmodSync(starter, 0o755);
  }
}

/** The Python that workers run is shipped as it is; `tsc` doesn't carry it. */
export function copyPython(from, to) {
  if (!existsSync(from)) return;
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name.endsWith('.py')) cpSync(join(from, name), join(to, name));
  }
}

async function bundle() {
  // Installed packages have no esbuild, but do have what this file tells of commands.
  const { bundleCommand } = await import('./bundle.mjs');
  for (const [entry, name] of Object.entries(commands)) {
    writeStart(name, await bundleCommand({ root, entry, folder: join(root, 'dist/bin'), name }));
  }
}

/** What Node is given: it parses anywhere, and so can say what it needs. */
function writeStart(name, bundle) {
  const id = createHash('sha256').update(readFileSync(bundle)).digest('hex').slice(0, 16);
  const path = join(root, `dist/bin/${name}.cjs`);
  const start = readFileSync(join(root, 'native/front/start.cjs'), 'utf8');
  const lines = ['#!/usr/bin/env node', refuseOldNode(name), `const bundleId = '${id}';`, start];
  writeFileSync(path, lines.join('\n'), { mode: 0o755 });
}

/** In words that any Node knows. The code is lib/exit-codes.ts's. */
function refuseOldNode(name) {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [, major, minor] = /^>=(\d+)\.(\d+)$/.exec(engines.node);
  const needed = `${name} runs on Node.js ${major}.${minor} or newer, on PATH or named by REGROUP_NODE`;
  return (
    `{const v=process.versions.node.split('.');` +
    `if(v[0]<${major}||v[0]==${major}&&v[1]<${minor}){` +
    `require('fs').writeSync(2,'${name}: '+process.execPath+' is Node.js '+process.versions.node+'; ${needed}\\n');` +
    'process.exit(126)}}'
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildTs();
