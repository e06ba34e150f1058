/** What stacks tell, of all workers in one line; pure. */

export interface DumpFile {
  readonly rank: number;
  /** `stacks.txt` of the worker's log folder; absent where logging is off or the disk is full. */
  readonly path?: string;
}

/** Frames that only pass on or wait for something that their callers name. */
const dull = new Set(['wrapper', '_wait', 'wait_for', 'acquire', '__call__']);

/**
 * The innermost function of the main thread that says something, out of what `py-spy dump` prints or
 * faulthandler writes; both begin with the most recent call.
 *
 * @source py-spy 0.4.1, src/dump.rs, print_trace; CPython 3.14, Python/traceback.c, dump_frame
 */
export function mainFrame(text: string): string | undefined {
  const threads = text
    .split(/^(?=Thread |Current thread )/m)
    .filter(part => /^(Cur|Thr)/.test(part));
  const main =
    threads.find(part => /^Current thread|^Thread .*MainThread/.test(part)) ?? threads.at(-1);
  if (main === undefined) return undefined;

  const frames = main.split('\n').flatMap(line => {
    const name = /^ {4}(\S+) \(.+:\d+\)/.exec(line)?.[1] ?? / line \d+ in (\S+)$/.exec(line)?.[1];
    return name === undefined ? [] : [name];
  });
  return frames.find(name => !dull.has(name)) ?? frames[0];
}

/** `ranks 0-6 in all_reduce, rank 7 in __next__`; those that told nothing come last. */
export function foldRanks(
  waiting: readonly { readonly rank: number; readonly where: string | undefined }[],
): string {
  const byPlace = new Map<string, number[]>();
  for (const { rank, where } of waiting) {
    const place = where ?? '';
    byPlace.set(place, [...(byPlace.get(place) ?? []), rank]);
  }
  return [...byPlace]
    .sort(([one], [other]) => Number(one === '') - Number(other === ''))
    .map(([place, ranks]) => `${rangesOf(ranks)} ${place === '' ? 'unknown' : `in ${place}`}`)
    .join(', ');
}

function rangesOf(ranks: readonly number[]): string {
  const sorted = [...ranks].sort((one, other) => one - other);
  const ranges: [first: number, last: number][] = [];
  for (const rank of sorted) {
    const range = ranges.at(-1);
    if (range !== undefined && range[1] === rank - 1) range[1] = rank;
    else ranges.push([rank, rank]);
  }
  const list = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`));
  return `${ranks.length === 1 ? 'rank' : 'ranks'} ${list.join(', ')}`;
}

/** Whether the process has a handler for a signal, by its /proc/PID/status. */
export function catches(status: string, signal: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}
