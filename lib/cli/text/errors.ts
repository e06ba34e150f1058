import { RegroupError } from '../../errors.js';
import type { CommandName } from '../options/spec.js';

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

  // launch() says maxRestarts; people here say --max-restarts.
  const message =
    error.code === 'ERR_OPTION' ? error.message.replace(/^\w+/, dashed) : error.message;
  const kind = error.code === 'ERR_NO_PROGRAM' ? 'FileNotFoundError: ' : '';
  return `${command}: error: ${kind}${message.replaceAll('\n', '\\n')}`;
}

function dashed(name: string): string {
  return `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`;
}

function firstLine(error: unknown): string {
  // Where it happened is all that a report of it could tell us.
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
  return stack
    .split('\n', 2)
    .map(line => line.trim())
    .join(' ');
}
