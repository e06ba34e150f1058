import { isWhole, recordIn } from '../options/checks.js';

/** What clients of PyTorch's file timers write: lines of JSON. Pure. */

/** One countdown of a process, or its end. */
export interface TimerRequest {
  readonly pid: number;
  /** 256 characters at most, of a longer one the end. */
  readonly scope: string;
  /** Unix time in milliseconds; below 0: the timer is released. */
  readonly expiresAtMs: number;
  /** Number of the signal that's due then; 0 and below: none. */
  readonly signal: number;
}

/**
 * Length of a line without its end, in bytes. Clients write no longer ones, since more than PIPE_BUF isn't atomic.
 *
 * @source pytorch v1.13.1 and v2.13.0, torch/distributed/elastic/timer/file_based_local_timer.py, _send_request
 */
export const maxRequestBytes = 4096;
/** Shorter than any request with all of its four members. */
const minRequestBytes = 40;
const maxSignal = 64;
/** Length of a scope that's kept; clients write the path of a source file, and a line's number. */
const maxScope = 256;

/** @returns undefined for what no client of PyTorch's writes */
export function parseRequest(line: string): TimerRequest | undefined {
  const value = recordIn(line);
  if (value === undefined) return undefined;
  const { pid, scope_id: scope, expiration_time: seconds, signal } = value;
  if (!isWhole(pid, 1, 2 ** 22) || typeof scope !== 'string') return undefined;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) return undefined;
  if (!isWhole(signal, -maxSignal, maxSignal)) return undefined;
  // isWhole has just told that these are numbers.
  return {
    pid: pid as number,
    scope: cutScope(scope),
    expiresAtMs: seconds * 1000,
    signal: signal as number,
  };
}

/** The end tells most: the file's name and the line. */
function cutScope(scope: string): string {
  if (scope.length <= maxScope) return scope;
  // A copy, as a part of a string keeps the whole of it.
  return `…${Buffer.from(scope.slice(1 - maxScope)).toString()}`;
}

/** Cuts what's read into lines. */
export interface LineCutter {
  /**
   * @returns whole lines without their ends, in their order; `undefined`, once, in place of those that are no request by their
   *   length or their first sign
   */
  cut(piece: Buffer): readonly (string | undefined)[];
}

const brace = '{'.charCodeAt(0);

export function lineCutter(): LineCutter {
  let rest = Buffer.alloc(0);
  /** Whether what's read is the rest of a line that's too long. */
  let isSkipping = false;
  return {
    cut(piece) {
      const lines: (string | undefined)[] = [];
      const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      let from = 0;
      let hasNonsense = false;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
        const length = end - from;
        const isWanted =
          !isSkipping &&
          length >= minRequestBytes &&
          length <= maxRequestBytes &&
          bytes[from] === brace;
        if (isWanted) lines.push(bytes.toString('utf8', from, end));
        else if (!hasNonsense) lines.push(undefined);
        hasNonsense ||= !isWanted;
        isSkipping = false;
        from = end + 1;
      }
      isSkipping ||= bytes.length - from > maxRequestBytes;
      rest = isSkipping ? Buffer.alloc(0) : Buffer.from(bytes.subarray(from));
      return lines;
    },
  };
}
