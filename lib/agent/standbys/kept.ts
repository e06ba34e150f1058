import { dirname, isAbsolute, join, resolve } from 'node:path';
import { isModuleName } from '../../options/standby.js';
import { isUnsafe, type OwnFile } from '../../preload/learned.js';
import { createDisk } from '../../system/disk.js';
import { exactCwd } from '../../system/exact.js';
import { marksOf, readTrusted, writeTrusted } from '../../system/files.js';
import { bytesOf } from '../../util/bytes.js';
import { codeOf } from '../../util/errno.js';
import type { Job } from '../../workers/job.js';

/** The list of a script's imports that the next run begins with, in a folder of the user's. */

/** What a run has learned of a script. */
export interface Kept {
  readonly modules: readonly string[];
  /** Whether the script writes to its environment before its imports, which isn't kept: it's learned anew. */
  readonly replays: boolean;
  readonly own: readonly OwnFile[];
  /** What standbys have loaded: for `readAhead` alone. */
  readonly files: readonly string[];
  /** Of the arguments of the run that has kept it; absent: it isn't known. */
  readonly args?: string;
}

/** Where the list of a job's script is, or would be. */
export interface KeptPlace {
  /** Above the folder, and the user's: where it isn't there nothing is kept. */
  readonly base: string;
  readonly folder: string;
  readonly name: string;
}

/** Protects the event loop from a list that's no list: parsing it takes milliseconds. */
const maxBytes = 1 << 20;
/** For a disk that's asleep or far away; meanwhile nobody waits. */
const boundMs = 10_000;
const version = 1;
/** What one folder holds of lists, for the user's disk: those that were written last, which isn't when they were used. */
const limits = { kind: 'imports-', maxFiles: 256, maxBytes: 32 << 20 } as const;

/** Variables that decide what an interpreter finds. Others may have it import more or less, which is only less warm. */
const decisive = /^(PYTHON|LD_|VIRTUAL_ENV$|CONDA_PREFIX$)/;

/** Absent: the user has no folder for it, or the one that we're in has gone. */
export function keptPlace(job: Job): KeptPlace | undefined {
  const { env, python, settings } = job;
  const cwd = job.cwd ?? ownFolder();
  const { entrypoint } = settings;
  const { REGROUP_CACHE_DIR: own, XDG_CACHE_HOME: cache, HOME: home } = env;
  const places = [
    own && { base: dirname(own), folder: own },
    cache && { base: cache, folder: join(cache, 'regroup') },
    home && { base: home, folder: join(home, '.cache/regroup') },
  ];
  // Where it depends on the working directory it's nobody's.
  const found = places.find(each => each && isAbsolute(each.folder));
  if (!found || cwd === undefined) return undefined;
  const variables = Object.entries(env).filter(([name]) => decisive.test(name));
  const key = [entrypoint, python?.path, cwd, variables.sort()];
  const [base, folder] = [resolve(found.base), resolve(found.folder)];
  return { base, folder, name: `${limits.kind}${hashOf(JSON.stringify(key))}.json` };
}

/** What tells a job's arguments from others. */
export function argsMark({ settings }: Job): string {
  return hashOf(JSON.stringify(settings.args));
}

function ownFolder(): string | undefined {
  try {
    return exactCwd();
  } catch {
    // It was removed: workers start there all the same.
    return undefined;
  }
}

/** FNV-1a of 64 bits: node:crypto takes a millisecond to load, and who else's list this were would only be less warm. */
function hashOf(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytesOf(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

/** A dead home keeps no process alive. */
const disk = createDisk(1, false);

/**
 * What an earlier run has kept; absent: nothing. `isCurrent`: the script and its own modules are as they were then.
 *
 * @throws with the reason as its message, where there's a list that can't be used
 */
export async function loadKept(
  place: KeptPlace,
): Promise<{ readonly kept: Kept; readonly isCurrent: boolean } | undefined> {
  return disk.run(boundMs, async () => {
    const read = await readTrusted(place.folder, place.name, maxBytes).catch(notThere);
    if (read === undefined) return undefined;
    const kept = keptFrom(read.piece.toString('utf8'));
    if (kept === undefined) throw new Error(`${join(place.folder, place.name)} is no such list`);
    const marks = await marksOf(kept.own.map(({ path }) => path));
    return { kept, isCurrent: kept.own.every(({ mark }, at) => marks[at] === mark) };
  });
}

/** @throws as node:fs */
export async function saveKept(place: KeptPlace, kept: Kept): Promise<void> {
  const text = textFor(kept);
  await disk.run(boundMs, () => writeTrusted({ ...place, ...limits }, text));
}

/** Why a list couldn't be read or written, for people. */
export function whyNotKept(error: unknown, { folder }: KeptPlace): string {
  const { syscall, message } = error as NodeJS.ErrnoException; // ours, and node's, are errors
  return syscall === 'trust' ? `somebody else can write to ${folder}` : message;
}

/** What `keptFrom` reads, of what's known; as many files as there's room for. */
export function textFor({ files, own, ...others }: Kept): string {
  const bare = JSON.stringify({ version, ...others, own, files: [] });
  let room = maxBytes - Buffer.byteLength(bare);
  const fitting = files.filter(path => {
    room -= Buffer.byteLength(JSON.stringify(path)) + 1;
    return room > 0;
  });
  return JSON.stringify({ version, ...others, own, files: fitting });
}

/** Undefined: we haven't written that. */
export function keptFrom(text: string): Kept | undefined {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    // Cut off by a limit, or by whoever edits it.
    return undefined;
  }
  if (!isObject(read) || read.version !== version) return undefined;
  const { modules, replays, own, files, args } = read;
  const isWhole =
    isList(modules, isModuleName) &&
    typeof replays === 'boolean' &&
    isList(own, isOwnFile) &&
    isList(files, isPath);
  if (!isWhole) return undefined;
  const ofArgs = typeof args === 'string' ? { args } : {};
  return { modules: modules.filter(name => !isUnsafe(name)), replays, own, files, ...ofArgs };
}

function notThere(error: unknown): undefined {
  const code = codeOf(error);
  if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
}

function isList<T>(value: unknown, isItem: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every(isItem);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isPath(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith('/');
}

function isOwnFile(value: unknown): value is OwnFile {
  return isObject(value) && isPath(value.path) && typeof value.mark === 'string';
}
