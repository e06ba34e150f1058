import type { NativeStream } from '../native/plan.js';
import type { Streams, StreamsByRank } from '../options/logs.js';

/** What the options say about output, for all workers of a node. */
export interface OutputOptions {
  readonly redirects: StreamsByRank;
  readonly tee: StreamsByRank;
  /** Local ranks that may reach the console; empty: all. */
  readonly localRanksFilter: readonly number[];
  readonly duplicateStdoutFilters: readonly string[];
  readonly duplicateStderrFilters: readonly string[];
  /** Hang rules look at what's written, so all of it goes to files as well. */
  readonly watched?: boolean;
}

/** Where one worker's files are. Absent where logging is off. */
export interface StreamFiles {
  readonly stdout: string;
  readonly stderr: string;
  readonly filteredStdout: string;
  readonly filteredStderr: string;
}

/**
 * Where the streams of one worker go. As in torchrun a tee'd stream is redirected as well; a local
 * rank that is filtered keeps its files and stays off the console.
 *
 * Without files a redirected stream stays on the console, as torchrun's, and a tee'd one keeps its prefix.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/api.py, DefaultLogsSpecs.reify
 */
export function streamsOf(
  output: OutputOptions,
  worker: {
    readonly localRank: number;
    readonly prefix: string;
    readonly files?: StreamFiles | undefined;
  },
): { readonly stdout: NativeStream; readonly stderr: NativeStream } {
  const { localRank, prefix, files } = worker;
  const redirects = streamsOfRank(output.redirects, localRank);
  const tee = streamsOfRank(output.tee, localRank);
  const filtered =
    output.localRanksFilter.length > 0 && !output.localRanksFilter.includes(localRank);

  const stream = (
    which: 'stdout' | 'stderr',
    console: 1 | 2,
    filters: readonly string[],
    filteredFile: string | undefined,
  ): NativeStream => {
    const file = files?.[which];
    if (has(tee, which) && !filtered) {
      return {
        to: 'pipe',
        ...(file === undefined ? {} : { file }),
        console,
        prefix,
        ...(filters.length === 0 || filteredFile === undefined ? {} : { filters, filteredFile }),
      };
    }
    if (file !== undefined && (has(redirects, which) || has(tee, which)))
      return { to: 'file', path: file };
    if (file !== undefined && output.watched === true) {
      return filtered ? { to: 'file', path: file } : { to: 'pipe', file, console, prefix: '' };
    }
    return { to: filtered ? 'null' : 'inherit' };
  };

  return {
    stdout: stream('stdout', 1, output.duplicateStdoutFilters, files?.filteredStdout),
    stderr: stream('stderr', 2, output.duplicateStderrFilters, files?.filteredStderr),
  };
}

/** Whether any stream of any of the first `localWorldSize` workers ends up in a file. */
export function anyRedirected(output: OutputOptions, localWorldSize: number): boolean {
  for (let localRank = 0; localRank < localWorldSize; localRank++) {
    if (streamsOfRank(output.redirects, localRank) !== 'none') return true;
    if (streamsOfRank(output.tee, localRank) !== 'none') return true;
  }
  return false;
}

function streamsOfRank(streams: StreamsByRank, localRank: number): Streams {
  return typeof streams === 'string' ? streams : (streams[localRank] ?? 'none');
}

function has(streams: Streams, which: 'stdout' | 'stderr'): boolean {
  return streams === 'both' || streams === which;
}

/** The file that has what is written to a stream; undefined: none has. */
export function fileOf(stream: NativeStream | undefined): string | undefined {
  if (stream?.to === 'file') return stream.path;
  return stream?.to === 'pipe' ? stream.file : undefined;
}
