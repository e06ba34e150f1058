/** What a script imports, and what it does to its environment before, as python/regroup/standby/_regroup_learn.py records it. */

/** What a standby does beforehand: an import, or what the script does to its environment before one (`NAME=VALUE`, `NAME`). */
export type Act = readonly ['module' | 'set' | 'unset', string];

/** A file of the user's own, and what tells it from its next version: NANOSECONDS:BYTES. */
export interface OwnFile {
  readonly path: string;
  readonly mark: string;
}

/** What a recorded round tells of a script's imports. */
export interface Learned {
  /** In their order, up to the last import: of the standard library and site-packages, never the user's own. */
  readonly acts: readonly Act[];
  /** The script and the modules of the user's own: what was learned holds as long as they stay. */
  readonly own: readonly OwnFile[];
  /** Why this script's interpreters can't be warm; absent: they can. */
  readonly unsafe?: string;
  /** Why nothing is imported beforehand behind these; absent: nothing is known against it. */
  readonly end?: string;
}

/** Modules that mustn't be imported before the round is known, with all below them. */
const unsafeModules: readonly string[] = [
  // MPI_Init, with the environment of that moment
  'mpi4py',
  'horovod',
  // They make a context on a GPU
  'pycuda.autoinit',
  'cudf',
  'rmm',
  // Processes or threads of their own (pytorch#121197)
  'torch._dynamo',
  'torch._inductor',
  'ray',
  // They take the terminal, or signals
  'readline',
  'IPython',
];

/** Protects the standby's memory, and whoever sends it the list. */
const maxActs = 5000;

/**
 * What a worker has recorded. Undefined if it has recorded nothing: perhaps its interpreter doesn't run what PYTHONPATH offers.
 * Undefined, too, where two interpreters have.
 *
 * @param text as `textOf` gives it; a line that's cut off at the end doesn't count
 */
export function learnedFrom(text: string): Learned | undefined {
  const lines = text.split('\n').slice(0, -1);
  if (!lines[0]?.startsWith('shim ')) return undefined;

  const acts: Act[] = [];
  const own: OwnFile[] = [];
  let end: string | undefined;
  for (const [at, line] of lines.entries()) {
    const [kind, rest] = split(line);
    // Interpreters of one worker write to the same: nobody knows which of them does what.
    if (kind === 'shim' && at > 0) return undefined;
    if (kind === 'end') end ??= rest;
    if (kind === 'unsafe') return { acts: [], own, unsafe: rest };
    if (kind === 'own') {
      const [mark, path] = split(rest);
      own.push({ mark, path });
    } else if (isAct(kind) && !(kind === 'module' && isUnsafe(rest)) && acts.length < maxActs)
      acts.push([kind, rest]);
  }
  const count = acts.findLastIndex(([kind]) => kind === 'module') + 1;
  return { acts: acts.slice(0, count), own, ...(end === undefined ? {} : { end }) };
}

/** Acts for modules that somebody has named. */
export function actsOf(modules: readonly string[]): Act[] {
  return modules.map(name => ['module', name]);
}

export function modulesOf(acts: readonly Act[]): string[] {
  return acts.flatMap(([kind, text]) => (kind === 'module' ? [text] : []));
}

/** Whether a module is one that standbys never import beforehand. */
export function isUnsafe(name: string): boolean {
  return unsafeModules.some(each => name === each || name.startsWith(`${each}.`));
}

function isAct(kind: string): kind is Act[0] {
  return kind === 'module' || kind === 'set' || kind === 'unset';
}

function split(text: string): [string, string] {
  const index = text.indexOf(' ');
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}
