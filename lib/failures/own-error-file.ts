import { createDisk } from '../system/disk.js';
import { removeAll, writeText } from '../system/files.js';
import { shown } from '../util/bytes.js';

/** The error file of whoever started this launcher. */

/** Limit of writing the caller's error file: it may be on a disk of its own, and the run's end waits for it. */
const writeMs = 3000;

/**
 * Tells whoever started this launcher what the root cause was: its error file goes to `path`, with `message.errorCode`
 * added, since a worker that crashes can't know its own exit code. String messages and whatever else isn't an object go
 * there unchanged.
 *
 * @param text the root cause's error file
 * @returns why nothing was written, for a warning; the run's result doesn't hang on it
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/errors/error_handler.py, dump_error_file
 */
export function passOnErrorFile(
  text: string,
  exitcode: number,
  path: string,
): Promise<string | undefined> {
  return written(async () => {
    await removeAll(path);
    await writeText(path, withErrorCode(text, exitcode));
  });
}

/** Writes the launcher's own failure in the form of torch's `record`. @returns as `passOnErrorFile` */
export function recordError(
  error: { readonly name: string; readonly message: string; readonly stack?: string | undefined },
  path: string,
): Promise<string | undefined> {
  const message = shown(`${error.name}: ${error.message}`);
  const data = {
    message: {
      message,
      extraInfo: {
        py_callstack: shown(error.stack ?? message),
        timestamp: String(Math.floor(Date.now() / 1000)),
      },
    },
  };
  return written(() => writeText(path, JSON.stringify(data)));
}

function written(calls: () => Promise<void>): Promise<string | undefined> {
  return createDisk(1)
    .run(writeMs, calls)
    .then(
      () => undefined,
      error => `Unable to write error to file. ${String(error)}`,
    );
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
