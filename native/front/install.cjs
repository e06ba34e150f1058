// npm's `postinstall`: puts the front program where package.json has the commands, in the place of the shell script that
// starts it otherwise (front.sh), and has V8 compile them (compile.cjs). Never fails: without both all works, 3 + 5 ms later.
const { chmodSync, copyFileSync, existsSync, renameSync, rmSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { spawnSync } = require('node:child_process');

const root = join(__dirname, '../..');
const { bin } = require(join(root, 'package.json'));

/** pnpm's and others' links are scripts, written for what they found: `exec /bin/sh …/dist/bin/regroup`. */
const isNpm = /^npm\//.test(process.env.npm_config_user_agent ?? '');
/** What's packed from a checkout must suit any machine. */
const isCheckout = existsSync(join(root, '.git'));

if (!isCheckout) compile();
try {
  if (isNpm && !isCheckout) putFront();
} catch (error) {
  console.log(`regroup: its commands start through a shell: ${error.message}`);
}

/** Whatever becomes of it, the commands start: some milliseconds later without. */
function compile() {
  spawnSync(process.execPath, [join(__dirname, 'compile.cjs'), join(root, 'dist/bin')], {
    stdio: 'ignore',
  });
}

function putFront() {
  const front = join(dirname(require('node-gyp-build').path(root)), 'regroup_front');
  for (const path of Object.values(bin)) {
    const command = join(root, path);
    const fresh = `${command}.${process.pid}`;
    try {
      copyFileSync(front, fresh);
      chmodSync(fresh, 0o755);
      check(fresh);
      // Not into the file that's there: package managers link it into other projects.
      renameSync(fresh, command);
    } finally {
      rmSync(fresh, { force: true });
    }
  }
}

/** Whether it runs here: it says that the Node that it's told to become isn't there. */
function check(command) {
  const env = { ...process.env, REGROUP_NODE: join(root, 'no-such-node') };
  const { status, error } = spawnSync(command, { env });
  if (status !== 127) throw error ?? new Error(`${command} ended with ${status}`);
}
