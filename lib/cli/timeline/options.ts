import { parseArgs } from 'node:util';
import { didYouMean } from '../../util/nearest.js';

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
    // parseArgs throws TypeErrors for people; some end with advice in further sentences.
    const why = (error as Error).message.split(/\. |\n/)[0] ?? '';
    const unknown = /^Unknown option '(--[^']*)'$/.exec(why)?.[1] ?? '';
    const names = Object.keys(options).map(name => `--${name}`);
    return { do: 'refuse', why: `${why}${didYouMean(unknown, names)}` };
  }
}
