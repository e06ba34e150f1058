import type { StartedWith } from '../../own-process.js';
import { signalName } from '../../util/signals.js';
import type { Env } from '../options/spec.js';

/** What the front program has handed over, by the environment. Pure. */

export interface FrontNote {
  /** Environment as the front program was given it. */
  readonly env: Env;
  /** Signals that whoever started us ignores. */
  readonly ignored: readonly NodeJS.Signals[];
  /** What this process was started with and Node has changed; absent: the front program hasn't told. */
  readonly startedWith?: StartedWith;
}

const noteName = 'REGROUP_FRONT';
/** Prefix that hides `NODE_…` from Node, so that it doesn't obey. */
const hidden = 'REGROUP_FRONT_';

/** Whether a variable is the front program's, and nobody else's. */
export function isOfFront(name: string): boolean {
  return name === noteName || name.startsWith(`${hidden}NODE_`);
}

/**
 * Reads the note and takes it out of the environment.
 *
 * @param pid ours: a note that another process was given says nothing about us
 * @source native/front/environment.h
 */
export function readNote(env: Env, pid: number): FrontNote {
  const note = env[noteName];
  if (note === undefined) return { env, ignored: [] };

  const given = Object.entries(env)
    .filter(([name]) => name !== noteName)
    .map(([name, value]) => [isOfFront(name) ? name.slice(hidden.length) : name, value]);
  const fields = /^(\d+) ([\da-f]+) ([\da-f]+) (\d+)$/.exec(note);
  const [, of, ignored = '', blocked = '', soft = ''] = fields ?? [];
  if (Number(of) !== pid) return { env: Object.fromEntries(given), ignored: [] };

  const ignoredSignals = signalsOf(ignored);
  // Above, there's no limit: the kernel says 2⁶⁴ - 1.
  const nofileSoft = Number(soft) <= Number.MAX_SAFE_INTEGER ? Number(soft) : undefined;
  return {
    env: Object.fromEntries(given),
    ignored: ignoredSignals.flatMap(number => (signalName(number) as NodeJS.Signals) ?? []), // ours are Node's
    startedWith: {
      ignoredSignals,
      blockedSignals: signalsOf(blocked),
      ...(nofileSoft === undefined ? {} : { nofileSoft }),
    },
  };
}

/** Numbers of the bits of a mask in base 16; bit 0 is signal 1. */
function signalsOf(mask: string): number[] {
  const digits = Array.from(mask, digit => Number.parseInt(digit, 16)).reverse();
  return digits.flatMap((digit, i) =>
    [0, 1, 2, 3].filter(bit => (digit >> bit) & 1).map(bit => 4 * i + bit + 1),
  );
}
