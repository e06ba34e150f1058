import { RegroupError } from '../../errors.js';
import type { CommandName } from '../options/spec.js';
import { optionsOf } from '../options/table.js';

/** A handled signal ended the run. Users grep its text, which is torchrun's. */
export class SignalException extends Error {
  override readonly name = 'torch.distributed.elastic.multiprocessing.api.SignalException';

  constructor(signal: number) {
    super(`Process ${process.pid} got signal: ${signal}`);
  }
}

/** An error in one line. */
export function describeError(command: CommandName, error: unknown): string {
  if (error instanceof SignalException) return `${error.name}: ${error.message}`;
  if (!(error instanceof RegroupError))
    return `${command}: internal error: ${firstLine(error)}; please report it`;

  // launch() says gpuWaitMs; people here say --gpu-wait.
  const message =
    error.code === 'ERR_OPTION'
      ? error.message.replace(/^\w+/, name => flagOf(command, name))
      : error.message;
  const kind = error.code === 'ERR_NO_PROGRAM' ? 'FileNotFoundError: ' : '';
  return `${command}: error: ${kind}${message.replaceAll('\n', '\\n')}`;
}

/** The flag that gives an option of launch(); its own name, if there's none of that name. */
function flagOf(command: CommandName, option: string): string {
  const dashed = `--${option.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`;
  const flags = optionsOf(command).flatMap(({ names }) => names);
  return [dashed, dashed.replace(/-ms$/, '')].find(flag => flags.includes(flag)) ?? option;
}

function firstLine(error: unknown): string {
  // Where it happened is all that a report of it could tell us.
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
  return stack
    .split('\n', 2)
    .map(line => line.trim())
    .join(' ');
}
