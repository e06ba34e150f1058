// npm's `prepare`: what a checkout needs after `npm install`. Never runs where regroup is installed
// as a package; runs before it is packed, where only the build matters.
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildTs, commandNames } from './build-ts.mjs';
import { preparePythons } from './python.mjs';
import { main, say } from './steps.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** npm links the commands of dependencies only; with these, `npx regroup` finds our own as well. */
function linkCommands() {
  for (const name of commandNames) {
    const link = join(root, 'node_modules/.bin', name);
    rmSync(link, { force: true });
    symlinkSync(`../../dist/bin/${name}`, link);
  }
}

main(async () => {
  if (!existsSync(join(root, 'node_modules/typescript'))) {
    say('nothing is built without the development dependencies');
    return;
  }
  say('building dist/');
  await buildTs();

  const packing =
    ['pack', 'publish'].includes(process.env.npm_command ?? '') ||
    // Set by npm while it packs a git dependency.
    process.env._PACOTE_NO_PREPARE_ !== undefined;
  if (packing || !existsSync(join(root, '.git'))) return;

  linkCommands();
  // A machine without PyTorch can still build, and test all that doesn't need it.
  const { problem } = preparePythons();
  if (problem)
    say(`without PyTorch: examples/train.py and the interop tests won't run. ${problem}`);
});
