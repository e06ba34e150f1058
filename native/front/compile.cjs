// compile.cjs FOLDER: has V8 compile what a start of the commands in FOLDER needs, and keeps that where start.cjs finds it.
// A command that can't be run here stays as it is.
const { renameSync, rmSync, writeFileSync } = require('fs');
const { spawnSync } = require('child_process');
const { resolve } = require('path');

/** What the commands are called with. regroup-store is small, and starts as fast without. */
const calls = {
  regroup: ['--dry-run', '--no-python', 'true'],
  'regroup-launch': ['--dry-run', '--use-env', '--no-python', 'true'],
};

/** Variables that say how a command is to run, or on which nodes. */
const others = /^(NODE|REGROUP|PET|SLURM|SKYPILOT|LEPTON|TORCHELASTIC)_|^JOB_COMPLETION_INDEX$/;

const [, , folder, name] = process.argv;
if (name === undefined) Object.keys(calls).forEach(compileApart);
else compileHere(resolve(folder, `${name}.cjs`), calls[name]);

/** By a Node with the flags that the front program starts it with: with others, V8 refuses what it made. */
function compileApart(each) {
  const env = Object.entries(process.env).filter(([key]) => !others.test(key));
  spawnSync(process.execPath, [__filename, folder, each], {
    env: Object.fromEntries(env),
    stdio: 'ignore',
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
}

/** Functions that have been called are kept compiled, so it's called. */
function compileHere(command, args) {
  process.argv = [process.execPath, command, ...args];
  const { script, compiledFile } = require(command);
  process.on('exit', code => {
    if (code !== 0) return;
    const bytes = script.createCachedData();
    const compiled = compiledFile();
    const fresh = `${compiled}.${process.pid}`;
    try {
      // Twice, so that damage is seen.
      writeFileSync(fresh, Buffer.concat([bytes, bytes]));
      renameSync(fresh, compiled);
    } finally {
      rmSync(fresh, { force: true });
    }
  });
}
