import type { Disk } from '../system/disk.js';
import { readPiece } from '../system/files.js';
import { codeOf } from '../util/errno.js';

/** What a worker says of its failure in the file that TORCHELASTIC_ERROR_FILE names. */

/** More than any traceback; a worker that writes more isn't telling us anything. */
const maxErrorFileBytes = 4 * 1024 * 1024;

export type ErrorFile =
  | { readonly kind: 'absent' }
  /** `reason` completes "its error file …". */
  | { readonly kind: 'unusable'; readonly reason: string }
  | {
      readonly kind: 'read';
      /** Message of the error; empty if the file has none. */
      readonly message: string;
      readonly traceback: string;
      /** Unix time in whole seconds. */
      readonly timestamp?: number;
    };

export interface ErrorFileRead {
  readonly file: ErrorFile;
  /** The file as it is, where it could be read. */
  readonly text?: string;
  /** When it was last written to: Unix time in milliseconds, with fractions, by the clock of its file system. */
  readonly writtenAtMs?: number;
}

/** @param path absent where the worker was given none */
export async function readErrorFile(
  path: string | undefined,
  disk: Disk,
  boundMs: number,
): Promise<ErrorFileRead> {
  if (path === undefined) return { file: { kind: 'absent' } };
  return disk
    .run(boundMs, () => readFileOf(path))
    .catch((error): ErrorFileRead => {
      if (codeOf(error) === 'ENOENT') return { file: { kind: 'absent' } };
      const reason =
        codeOf(error) === 'ETIMEDOUT'
          ? `wasn't read: its disk didn't answer within ${Math.ceil(boundMs / 1000)} s`
          : `can't be read: ${codeOf(error)}`;
      return { file: { kind: 'unusable', reason } };
    });
}

async function readFileOf(path: string): Promise<ErrorFileRead> {
  const { kind, bytes, writtenAtMs, piece } = await readPiece(path, 0, maxErrorFileBytes);
  const unusable = (reason: string): ErrorFileRead => ({ file: { kind: 'unusable', reason } });
  if (kind !== 'file') return unusable("isn't a file");
  if (bytes > maxErrorFileBytes) return unusable(`has ${bytes} bytes`);
  const text = piece.toString('utf8');
  return { file: parseErrorFile(text), text, writtenAtMs };
}

/**
 * Reads an error file as torch's `record` writes it, or anything that's near enough: what doesn't
 * fit is left out, so that no file can hide the failure that it's about.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/errors/__init__.py, ProcessFailure
 */
export function parseErrorFile(text: string): ErrorFile {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return { kind: 'unusable', reason: text.trim() === '' ? 'is empty' : "isn't JSON" };
  }
  if (!isObject(data)) return { kind: 'unusable', reason: "isn't a JSON object" };

  const { message } = data;
  if (typeof message === 'string') {
    // Shown as it is: only tracebacks are indented.
    return { kind: 'read', message, traceback: message, ...timestamp(data.timestamp) };
  }
  if (!isObject(message)) return { kind: 'unusable', reason: 'has no message' };

  const extra = isObject(message.extraInfo) ? message.extraInfo : {};
  const inner = stringOf(message.message);
  const shown = stringOf(extra.py_callstack) ?? inner ?? '<N/A>';
  return {
    kind: 'read',
    message: inner ?? lastLine(shown),
    traceback: shown.replaceAll('\n', '\n  '),
    ...timestamp(extra.timestamp ?? data.timestamp),
  };
}

/** Reads whole seconds, a number or the text that `record` writes. Nonsense is left out. */
function timestamp(value: unknown): { timestamp?: number } {
  const seconds = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) return {};
  return seconds > 0 && seconds < kMaxTimestamp ? { timestamp: Math.floor(seconds) } : {};
}

/** Year 9999: the last that the report's `time` has room for. */
const kMaxTimestamp = 253_402_300_800;

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}
