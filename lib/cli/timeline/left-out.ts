import type { ReadLine } from '../../observe/timeline/records.js';
import type { Line } from './lines.js';

/** What a file's lines have been, for what's said of those that aren't in the trace. Pure. */
export interface LeftOut {
  /** Notes what came of a line. */
  note(line: Line, read: ReadLine): void;
  /** One line for each kind of what was left out; completes "FILE: …". */
  words(): readonly string[];
}

interface Count {
  lines: number;
  readonly first: number;
}

/** Events of later releases that are named, at most. */
const maxNamed = 8;

export function leftOut(): LeftOut {
  let lines = 0;
  let lost = 0;
  let isCut = false;
  let torn: Count | undefined;
  let noJson: Count | undefined;
  let noEvent: Count | undefined;
  let unknown: Count | undefined;
  const unknownNames = new Set<string>();

  function also(count: Count | undefined, { number }: Line): Count {
    return { lines: (count?.lines ?? 0) + 1, first: count?.first ?? number };
  }

  return {
    note(line, read) {
      lines++;
      switch (read.is) {
        case 'record':
          if (read.isBehindTorn) torn = also(torn, line);
          if (read.record.event === 'log-ended') lost += read.record.lostRecords;
          break;
        case 'unknown-event':
          unknown = also(unknown, line);
          unknownNames.add(read.event);
          break;
        case 'no-event':
          noEvent = also(noEvent, line);
          break;
        case 'no-json':
          if (line.isWhole) noJson = also(noJson, line);
          else isCut = true;
      }
    },
    words() {
      if (lines === 0) return ['the file is empty'];
      const names = [...unknownNames].slice(0, maxNamed).map(name => JSON.stringify(name));
      const more = unknownNames.size > maxNamed ? ', …' : '';
      const what = unknown?.lines === 1 ? 'an event' : `${unknown?.lines} events`;
      return [
        ...(unknown === undefined
          ? []
          : [`${what} of a later release left out: ${names.join(', ')}${more}`]),
        ...(noEvent === undefined ? [] : [`${where(noEvent)} no event of --events, and left out`]),
        ...(noJson === undefined ? [] : [`${where(noJson)} no JSON, and left out`]),
        ...(torn === undefined
          ? []
          : [`the begin of ${where(torn).replace(/ (is|are)$/, '')} is cut off, and left out`]),
        ...(lost > 0 ? [`${lost} events were lost while it was written`] : []),
        ...(isCut ? ['the last line is cut off, and left out: its agent was killed, or runs'] : []),
      ];
    },
  };
}

function where({ lines, first }: Count): string {
  return lines === 1 ? `line ${first} is` : `line ${first} and ${lines - 1} more are`;
}
