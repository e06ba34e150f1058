import { isUtf8 } from 'node:buffer';
import { readFileSync, readlinkSync } from 'node:fs';
import { textOf } from '../util/bytes.js';

/**
 * What this process was given, as texts that lead back to its bytes (bytes.ts). Node's own have U+FFFD for each byte that
 * isn't UTF-8, and lack variables with such a name.
 */

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The environment. What this program has changed of it stays changed.
 *
 * @param env as Node has it
 * @param read the block that this process was started with
 */
export function exactEnv(env: Env = process.env, read = readOwn): Env {
  const block = read('environ');
  if (block === undefined || isUtf8(block)) return env;

  const exact = new Map(Object.entries(env));
  const seen = new Set<string>();
  for (const entry of entriesOf(block)) {
    if (isUtf8(entry)) continue;
    const nameEnd = entry.indexOf('=');
    if (nameEnd < 0) continue;
    const name = textOf(entry.subarray(0, nameEnd));
    // Twice there, the first counts, as for getenv(3).
    if (seen.has(name)) continue;
    seen.add(name);
    const value = entry.subarray(nameEnd + 1);
    const isChanged = isUtf8(entry.subarray(0, nameEnd)) && env[name] !== value.toString('utf8');
    if (!isChanged) exact.set(name, textOf(value));
  }
  return Object.fromEntries(exact);
}

/** The arguments behind Node's own and the script. @param argv as Node has them */
export function exactArgs(argv: readonly string[] = process.argv, read = readOwn): string[] {
  const args = argv.slice(2);
  if (!args.some(hasReplacement)) return args;
  const given = entriesOf(read('cmdline') ?? Buffer.alloc(0));
  return given.length < argv.length ? args : given.slice(given.length - args.length).map(textOf);
}

/** The working directory. @throws as process.cwd() */
export function exactCwd(): string {
  const cwd = process.cwd();
  if (!hasReplacement(cwd)) return cwd;
  const link = attempt(() => readlinkSync('/proc/self/cwd', 'buffer'));
  return link === undefined ? cwd : textOf(link);
}

function hasReplacement(text: string): boolean {
  return text.includes('\uFFFD');
}

/** Texts that end with a NUL each. */
function entriesOf(block: Buffer): Buffer[] {
  const entries: Buffer[] = [];
  for (let at = 0; at < block.length; ) {
    const end = block.indexOf(0, at);
    const next = end < 0 ? block.length : end;
    entries.push(block.subarray(at, next));
    at = next + 1;
  }
  return entries;
}

const own = new Map<string, Buffer | undefined>();

/** Read once: the kernel has it as it was at our start. */
function readOwn(name: 'environ' | 'cmdline'): Buffer | undefined {
  const readNow = (): Buffer => readFileSync(`/proc/self/${name}`);
  if (!own.has(name)) own.set(name, attempt(readNow));
  return own.get(name);
}

/** Reads something of /proc; without that, Node's texts are all that there is. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
