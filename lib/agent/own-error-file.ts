import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { WorkerFailure } from './failures.js';

/**
 * Tells whoever started this launcher what the root cause was: its error file is copied to `path`,
 * with `message.errorCode` added, since a worker that crashes can't know its own exit code. String
 * messages and whatever else isn't an object are copied unchanged. Without an error file there's
 * nothing to tell, as in torchrun.
 *
 * @returns why nothing was written, for a warning; the run's result doesn't hang on it
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/errors/error_handler.py, dump_error_file
 */
export function copyErrorFile(rootCause: WorkerFailure, path: string): string | undefined {
  if (rootCause.errorFile === undefined) return undefined;
  try {
    const text = withErrorCode(readFileSync(rootCause.errorFile, 'utf8'), rootCause.exitcode);
    rmSync(path, { force: true });
    writeFileSync(path, text);
    return undefined;
  } catch (error) {
    return `Unable to write error to file. ${String(error)}`;
  }
}

/** Writes the launcher's own failure in the form of torch's `record`. @returns as `copyErrorFile` */
export function recordError(
  error: { readonly name: string; readonly message: string; readonly stack?: string | undefined },
  path: string,
): string | undefined {
  const data = {
    message: {
      message: `${error.name}: ${error.message}`,
      extraInfo: {
        py_callstack: error.stack ?? `${error.name}: ${error.message}`,
        timestamp: String(Math.floor(Date.now() / 1000)),
      },
    },
  };
  try {
    writeFileSync(path, JSON.stringify(data));
    return undefined;
  } catch (problem) {
    return `Unable to write error to file. ${String(problem)}`;
  }
}

/** Pure. */
export function withErrorCode(text: string, exitcode: number): string {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return text;
  }
  if (!isObject(data) || !isObject(data.message)) return text;
  return JSON.stringify({ ...data, message: { ...data.message, errorCode: exitcode } });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
