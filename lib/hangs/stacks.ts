/** What stacks tell, of all workers in one line; pure. */

/** Where a worker is. */
export interface Place {
  /** A function, or where in the kernel. */
  readonly name: string;
  /** `train.py:29`; absent where it isn't known. */
  readonly at?: string;
  /** `waits`: it's there for the sake of the other ranks; `stopped`: the whole process is. */
  readonly state?: 'waits' | 'stopped';
}

/** Frames that only pass on or wait for something that their callers name. */
const dull = new Set(['wrapper', '_wait', 'wait_for', 'acquire', '__call__']);
/** So are all of Python's own modules for waiting. py-spy shortens their paths to what's written here. */
const dullFiles =
  /(^|\/)(threading|selectors|signal|socket|ssl|queue|subprocess|(multiprocessing|concurrent\/futures|asyncio)\/\w+)\.py$/;

/**
 * Functions in which a rank waits until all have come: collectives, and what blocks on them. The backward pass is among them,
 * since DistributedDataParallel reduces there.
 */
const collectives = new Set([
  'all_gather',
  'all_gather_into_tensor',
  'all_gather_object',
  'all_reduce',
  'all_reduce_coalesced',
  'all_to_all',
  'all_to_all_single',
  'barrier',
  'batch_isend_irecv',
  'broadcast',
  'broadcast_object_list',
  'gather',
  'monitored_barrier',
  'recv',
  'reduce',
  'reduce_scatter',
  'reduce_scatter_tensor',
  'scatter',
  'send',
  'synchronize',
  '_engine_run_backward',
]);
/** PyTorch's files whose innermost functions do so. Its checkpoints wait for disks instead. */
const collectiveFiles =
  /(^|\/)torch\/(distributed\/(?!checkpoint\/|elastic\/)|nn\/parallel\/distributed\.py$)/;

/**
 * The innermost function of the main thread that says something, out of what `py-spy dump` prints or
 * faulthandler writes; both begin with the most recent call.
 *
 * @source py-spy 0.4.1, src/dump.rs, print_trace; CPython 3.14, Python/traceback.c, dump_frame
 */
export function mainPlace(text: string): Place | undefined {
  const threads = text
    .split(/^(?=Thread |Current thread )/m)
    .filter(part => /^(Cur|Thr)/.test(part));
  const main =
    threads.find(part => /^Current thread|^Thread .*MainThread/.test(part)) ?? threads.at(-1);
  if (main === undefined) return undefined;

  const frames = main.split('\n').flatMap(line => {
    const [, name, file, number] = /^ {4}(\S+) \((.+):(\d+)\)/.exec(line) ?? [];
    if (name !== undefined) return [{ name, file, number }];
    const [, of, at, inside] = /^ {2}File "(.+)", line (\d+) in (\S+)$/.exec(line) ?? [];
    return inside === undefined ? [] : [{ name: inside, file: of, number: at }];
  });
  const frame =
    frames.find(({ name, file = '' }) => !dull.has(name) && !dullFiles.test(file)) ?? frames[0];
  if (frame === undefined) return undefined;
  const { name, file = '', number } = frame;
  const waits = collectives.has(name) || collectiveFiles.test(file);
  return {
    name,
    at: `${file.split('/').at(-1)}:${number}`,
    ...(waits ? { state: 'waits' } : {}),
  };
}

/** `all_reduce (distributed_c10d.py:3007)` */
export function describePlace({ name, at }: Place): string {
  return at === undefined ? name : `${name} (${at})`;
}

/** `ranks 0-6 in all_reduce (…), rank 7 in __next__ (…)`; those that told nothing come last. */
export function foldRanks(
  waiting: readonly { readonly rank: number; readonly place: Place | undefined }[],
): string {
  const byPlace = new Map<string, number[]>();
  for (const { rank, place } of waiting) {
    const text = place === undefined ? '' : describePlace(place);
    byPlace.set(text, [...(byPlace.get(text) ?? []), rank]);
  }
  return [...byPlace]
    .sort(([one], [other]) => Number(one === '') - Number(other === ''))
    .map(([text, ranks]) => `${rangesOf(ranks)} ${text === '' ? 'unknown' : `in ${text}`}`)
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
