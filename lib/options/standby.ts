import { type Check, isList, milliseconds, oneOf } from './checks.js';

/** Interpreters that wait for the next round with its imports done. */
export interface StandbyOptions {
  /**
   * `auto`: while a round runs, one interpreter for each worker of this node does the script's imports and waits, so that a restart
   * doesn't wait for imports. For Python scripts and modules; what isn't safe starts as usual, and an event says why. @default 'off'
   */
  readonly standby?: 'off' | 'auto';
  /**
   * What they import, in this order: modules of the standard library and of installed packages only.
   *
   * @default what a worker of the first round was seen to import, and before that is known torch and numpy
   */
  readonly standbyModules?: readonly string[];
  /** From a round's start to the start of its standbys, in milliseconds: until then its workers have the machine to themselves. @default 30_000 */
  readonly standbyAfterMs?: number;
}

export const standbyDefaults = {
  standby: 'off',
  standbyAfterMs: 30_000,
} as const;

/** What standbys import as long as nobody knows what the script does. */
export const usualModules: readonly string[] = ['torch', 'numpy'];

const moduleName = /^[\p{ID_Start}_][\p{ID_Continue}]*(\.[\p{ID_Start}_][\p{ID_Continue}]*)*$/u;

/** Whether a text can stand behind Python's `import`. */
export function isModuleName(value: unknown): value is string {
  return typeof value === 'string' && moduleName.test(value);
}

export const standbyChecks: Readonly<Record<keyof StandbyOptions, Check>> = {
  standby: oneOf('off', 'auto'),
  standbyModules: [
    value => isList(value) && value.every(isModuleName),
    'a list of names of Python modules',
  ],
  standbyAfterMs: milliseconds,
};
