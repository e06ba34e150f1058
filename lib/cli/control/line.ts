import { parseArgs } from 'node:util';
import { describeParseError } from '../text/parse-error.js';
import type { ControlCommand } from './names.js';

/** The command lines of what looks at runs and gives them orders. Pure. */

/** What one of them was asked for. */
export interface ControlLine {
  /** Which run: its id, the beginning of it, or its agent's pid; absent: the only one. */
  readonly run?: string;
  readonly isJson: boolean;
  /** Absent: all. */
  readonly ranks?: readonly number[];
  /** Lines of each file. */
  readonly lines: number;
  readonly follows: boolean;
}

export type ParsedControl =
  | { readonly do: 'run'; readonly line: ControlLine }
  | { readonly do: 'help' }
  | { readonly do: 'refuse'; readonly why: string };

const options = {
  'run-id': { type: 'string' },
  json: { type: 'boolean' },
  rank: { type: 'string' },
  lines: { type: 'string', short: 'n' },
  follow: { type: 'boolean', short: 'f' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Options of each; all have --run-id and --help. */
const own: Readonly<Record<ControlCommand, readonly string[]>> = {
  ps: ['json'],
  logs: ['rank', 'lines', 'follow'],
  stop: [],
  restart: [],
  dump: ['rank', 'json'],
  drain: [],
};

const defaultLines = 10;

export function parseControl(command: ControlCommand, argv: readonly string[]): ParsedControl {
  const names = ['run-id', 'help', ...own[command]];
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      options,
      allowPositionals: true,
    });
    if (values.help) return { do: 'help' };
    const foreign = Object.keys(values).find(name => !names.includes(name));
    if (foreign !== undefined) return refuse(`Unknown option '--${foreign}'`);
    const [run = values['run-id'], ...more] = positionals;
    if (more.length > 0) return refuse(`one run at a time, and not ${more.join(' ')} as well`);
    const ranks = values.rank === undefined ? undefined : ranksOf(values.rank);
    if (ranks === 'bad') return refuse(`--rank: '${values.rank}' is no list of ranks, as 0,3-5`);
    const lines = values.lines ?? String(defaultLines);
    if (!/^\d{1,9}$/.test(lines)) return refuse(`--lines: '${lines}' is no number`);
    return {
      do: 'run',
      line: {
        ...(run === undefined ? {} : { run }),
        ...(ranks === undefined ? {} : { ranks }),
        isJson: values.json === true,
        lines: Number(lines),
        follows: values.follow === true,
      },
    };
  } catch (error) {
    return refuse(describeParseError(error, names));
  }
}

function refuse(why: string): ParsedControl {
  return { do: 'refuse', why };
}

const maxRanks = 100_000;

/** `0,3-5` */
function ranksOf(text: string): readonly number[] | 'bad' {
  const ranks: number[] = [];
  for (const part of text.split(',')) {
    const [, first, last = first] = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) return 'bad';
    if (Number(last) - Number(first) > maxRanks) return 'bad';
    for (let rank = Number(first); rank <= Number(last); rank++) ranks.push(rank);
  }
  return ranks.length === 0 ? 'bad' : ranks;
}
