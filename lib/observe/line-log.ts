import { atMost } from '../util/deferred.js';

/** What waits for a file that takes less than there is. Protects our memory. */
const maxWaitingLines = 8192;
const maxWaitingBytes = 8 * 1024 * 1024;
/** Bytes of one write. */
const maxBatchBytes = 256 * 1024;
/** A file that hasn't answered for so long is told. */
const answerMs = 10_000;
/** How long the end of a run waits for a file. */
const patience = {
  /** For one that takes nothing. */
  restMs: 2000,
  /** For one that takes something now and then. */
  endMs: 10_000,
};
/** Until a pipe that was full is tried again. */
const retryMs = 50;

/** A file of lines that nobody waits for. */
export interface LineLog {
  /**
   * Adds a line. Where too many wait it's lost, and counted.
   *
   * @param line in ASCII, without its line break: a full pipe may cut it behind any byte
   */
  add(line: string): void;
  /**
   * Adds a last line, which counts those before, once these are written or lost. Resolves when it's written, two seconds after the file has
   * stopped to take anything, or after ten seconds at the latest; what waits is lost then.
   */
  end(last: (counts: Counts) => string): Promise<void>;
}

/** Lines that a file has taken, and those that it hasn't. */
export interface Counts {
  readonly written: number;
  readonly lost: number;
}

export interface LineLogSurroundings {
  /** Where the lines go; rejects if that can't be known. */
  path(): Promise<string>;
  /** Never rejects. Behind EAGAIN the rest is to follow. */
  append(
    path: string,
    lines: string,
  ): Promise<{ readonly bytes: number; readonly code?: string | undefined }>;
  close(path: string): void;
  /** Told once. @param path empty where it isn't known */
  trouble(path: string, code: string, lost: number): void;
}

export function createLineLog(
  { path, append, close, trouble }: LineLogSurroundings,
  { restMs, endMs } = patience,
): LineLog {
  const waiting: Buffer[] = [];
  let waitingBytes = 0;
  let written = 0;
  let lost = 0;
  let place = '';
  let isTold = false;
  let isOver = false;
  let draining: Promise<void> | undefined;
  /** When the file last took something. */
  let tookAt = 0;

  function tell(code: string): void {
    if (isTold) return;
    isTold = true;
    trouble(place, code, lost);
  }

  function push(line: string): void {
    const bytes = Buffer.from(`${line}\n`, 'latin1');
    waiting.push(bytes);
    waitingBytes += bytes.length;
    draining ??= drain().finally(() => {
      draining = undefined;
    });
  }

  async function drain(): Promise<void> {
    try {
      place = await path();
    } catch (error) {
      lose(waiting.length);
      tell(codeFrom(error));
      return;
    }
    while (waiting.length > 0 && !isOver) await writeSome();
  }

  async function writeSome(): Promise<void> {
    const batch = takeBatch();
    const late = setTimeout(() => tell('ETIMEDOUT'), answerMs);
    late.unref();
    const { bytes, code } = await append(place, Buffer.concat(batch).toString('latin1'));
    clearTimeout(late);
    if (bytes > 0) tookAt = performance.now();
    const rest = behind(batch, bytes);
    written += batch.length - rest.length;
    if (rest.length === 0) return;
    if (code === 'EAGAIN') {
      waiting.unshift(...rest);
      for (const each of rest) waitingBytes += each.length;
      await new Promise(resolve => setTimeout(resolve, retryMs));
      return;
    }
    lost += rest.length;
    tell(code ?? 'EIO');
  }

  function takeBatch(): Buffer[] {
    let bytes = 0;
    let count = 0;
    while (count < waiting.length && (count === 0 || bytes < maxBatchBytes))
      bytes += waiting[count++]?.length ?? 0;
    waitingBytes -= bytes;
    return waiting.splice(0, count);
  }

  function lose(lines: number): void {
    waiting.splice(0, lines);
    waitingBytes = waiting.reduce((sum, each) => sum + each.length, 0);
    lost += lines;
  }

  /** Waits for what is to be written as long as the file takes some of it, and no longer than to a moment. */
  async function settle(untilMs: number): Promise<void> {
    tookAt = performance.now();
    while (draining !== undefined) {
      const leftMs = Math.min(tookAt + restMs, untilMs) - performance.now();
      if (leftMs <= 0) return;
      await atMost(leftMs, draining);
    }
  }

  return {
    add(line) {
      if (isOver) return;
      if (waiting.length < maxWaitingLines && waitingBytes < maxWaitingBytes) {
        push(line);
        return;
      }
      lost++;
      tell('ENOBUFS');
    },
    async end(last) {
      const untilMs = performance.now() + endMs;
      await settle(untilMs);
      if (draining === undefined) {
        push(last({ written, lost }));
        await settle(untilMs);
      }
      isOver = true;
      if (draining !== undefined) {
        lose(waiting.length);
        tell('ETIMEDOUT');
      }
      if (place !== '') close(place);
    },
  };
}

/** What of a batch isn't written, the rest of a line among it. */
function behind(batch: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  return batch.flatMap(each => {
    const taken = Math.min(left, each.length);
    left -= taken;
    return taken === each.length ? [] : [each.subarray(taken)];
  });
}

function codeFrom(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown }; // errors of files and ours have it
  return typeof code === 'string' ? code : 'EIO';
}
