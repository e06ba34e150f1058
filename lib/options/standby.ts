import { launchError } from '../errors.js';
import { type Check, flag, isList, milliseconds, oneOf } from './checks.js';

/** Interpreters that wait for the next round with its imports done. */
export interface StandbyOptions {
  /**
   * `auto`: while a round runs, one interpreter for each worker of this node does the script's imports and waits, so that a restart
   * doesn't wait for imports. For Python scripts and modules; what isn't safe starts as usual, and an event says why.
   *
   * @default 'off', with `prestart` 'auto'
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
  /**
   * Whether the first round, too, starts from such interpreters: they import while other nodes are awaited, or while the hook
   * before the start runs. It takes `standbyModules`, or what an earlier run has kept of the script's imports; else the round starts as usual.
   *
   * @default false
   */
  readonly prestart?: boolean;
}

export const standbyDefaults = {
  standby: 'off',
  standbyAfterMs: 30_000,
  prestart: false,
} as const;

/** What's to be decided of several options. @throws ERR_OPTION */
export function standbysTogether({
  standby,
  prestart = false,
}: StandbyOptions): Required<Pick<StandbyOptions, 'standby'>> {
  if (!prestart) return { standby: standby ?? standbyDefaults.standby };
  if (standby === 'off')
    throw launchError('ERR_OPTION', ['prestart', "standby is 'off'; give 'auto', or leave it out"]);
  return { standby: 'auto' };
}

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
  prestart: flag,
};
