import { type Check, isList, isRecord, isText, isWhole, text, texts } from './checks.js';

/** Streams of a worker that an option applies to. */
export type Streams = 'none' | 'stdout' | 'stderr' | 'both';

/** Streams of all local ranks alike, or by local rank; those that aren't named get `none`. */
export type StreamsByRank = Streams | Readonly<Record<number, Streams>>;

/** Where workers' output goes, and how its lines look on the console. */
export interface LogOptions {
  /** Folder for logs; the tree below it is as torchrun's. @default a folder in the temp dir, removed at the end if nothing was redirected */
  readonly logDir?: string;
  /** Streams that go to files instead of the console. @default 'none' */
  readonly redirects?: StreamsByRank;
  /** Streams that go to files and, by prefixed lines, to the console. @default 'none' */
  readonly tee?: StreamsByRank;
  /** Prefix of console lines: `${role_name}`, `${rank}`, `${local_rank}`, `${hostname}`. @default '[${role_name}${rank}]:' */
  readonly logLinePrefixTemplate?: string;
  /** Local ranks whose output may reach the console. @default all */
  readonly localRanksFilter?: readonly number[];
  /** Tee'd stdout lines with one of these are also written to filtered_stdout.log. @default [] */
  readonly duplicateStdoutFilters?: readonly string[];
  /** Tee'd stderr lines with one of these are also written to filtered_stderr.log. @default [] */
  readonly duplicateStderrFilters?: readonly string[];
}

export const logDefaults = {
  redirects: 'none',
  tee: 'none',
  logLinePrefixTemplate: '[${role_name}${rank}]:',
  localRanksFilter: [],
  duplicateStdoutFilters: [],
  duplicateStderrFilters: [],
} as const;

const streams: Check = [
  value =>
    isStreams(value) ||
    (isRecord(value) &&
      Object.entries(value).every(([rank, each]) => /^\d+$/.test(rank) && isStreams(each))),
  "'none', 'stdout', 'stderr', 'both', or one of them for each local rank",
];

export const logChecks: Readonly<Record<keyof LogOptions, Check>> = {
  logDir: text,
  redirects: streams,
  tee: streams,
  logLinePrefixTemplate: [isText, 'a text without NUL'],
  localRanksFilter: [
    value => isList(value) && value.every(rank => isWhole(rank, 0)),
    'a list of local ranks',
  ],
  duplicateStdoutFilters: texts,
  duplicateStderrFilters: texts,
};

function isStreams(value: unknown): boolean {
  return ['none', 'stdout', 'stderr', 'both'].includes(value as string); // includes compares anything
}
