import { parseArgs } from 'node:util';
import { describeParseError } from '../text/parse-error.js';

/** What `regroup timeline` was asked for. */
export interface TimelineOptions {
  /** Files of events. */
  readonly files: readonly string[];
  /** The file that gets the trace; absent: stdout. */
  readonly output?: string;
}

export type TimelineCommand =
  | { readonly do: 'run'; readonly options: TimelineOptions }
  | { readonly do: 'help' }
  /** The command line is wrong: why, in one line. */
  | { readonly do: 'refuse'; readonly why: string };

const options = {
  output: { type: 'string', short: 'o' },
  help: { type: 'boolean', short: 'h' },
} as const;

export function parseTimeline(argv: readonly string[]): TimelineCommand {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
    if (values.help) return { do: 'help' };
    const { output } = values;
    if (output === '') return { do: 'refuse', why: '--output: a file is missing' };
    if (positionals.length === 0)
      return { do: 'refuse', why: 'name the files that --events has written, one of each node' };
    const files = [...new Set(positionals)];
    return { do: 'run', options: { files, ...(output === undefined ? {} : { output }) } };
  } catch (error) {
    return { do: 'refuse', why: describeParseError(error, Object.keys(options)) };
  }
}
