import { spawnSync } from 'node:child_process';

/** Runs one command of a script, showing what it prints. @throws naming it if it fails */
export function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(
    command === 'node' ? process.execPath : command,
    args,
    {
      stdio: 'inherit',
      ...options,
    },
  );
  if (error) throw new StepFailed(`${command}: ${error.message}`);
  if (status !== 0) {
    throw new StepFailed(`${[command, ...args].join(' ')}: ${signal ?? `exited with ${status}`}`);
  }
}

/** Runs one command and gives what it printed, whether it succeeded, and how long it took. */
export function capture(command, args, options = {}) {
  const start = process.hrtime.bigint();
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 256 * 2 ** 20,
    ...options,
  });
  return {
    ok: status === 0,
    stdout: stdout ?? '',
    stderr: stderr || error?.message || '',
    seconds: Number(process.hrtime.bigint() - start) / 1e9,
  };
}

/** A step of a script failed and has said why; a stack trace of ours would add nothing. */
export class StepFailed extends Error {}

/** One line that says what goes on now. */
export function say(text) {
  console.log(`regroup: ${text}`);
}

/** Ends a script: a failed step by its one line, anything else by its stack. */
export function main(body) {
  body().catch(error => {
    console.error(error instanceof StepFailed ? `regroup: ${error.message}` : error);
    process.exitCode = 1;
  });
}
