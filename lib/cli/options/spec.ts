/** An option of the command line, for its grammar, its value and the help alike. */
export interface OptionSpec {
  /** Dashed spelling first; the underscored one is torchrun's older. */
  readonly names: readonly string[];
  /** torchrun's name of the value; `PET_` + its upper case is the variable. */
  readonly dest: string;
  readonly takes: 'text' | 'int' | 'float' | 'seconds' | 'list' | 'flag' | 'help' | 'version';
  /** What an absent option means, in help's words. */
  readonly default?: string;
  readonly metavar?: string;
  /** Checked on the command line only: torchrun doesn't check them for `PET_*`. */
  readonly choices?: readonly string[];
  /** Whether `PET_<DEST>` gives a default. */
  readonly env: boolean;
  /**
   * Who has it. Prefixes are torchrun 2.13's: an option that it doesn't know can't make one of its
   * prefixes ambiguous, so `--s…` means today what it meant before the command was swapped.
   */
  readonly origin: 'torchrun' | 'later torchrun' | 'launch' | 'regroup';
  readonly group: OptionGroup;
  readonly help: string;
}

export type OptionGroup =
  | 'workers'
  | 'placement'
  | 'limits'
  | 'nodes'
  | 'entrypoint'
  | 'output'
  | 'failures'
  | 'health'
  | 'stopping'
  | 'about';

/** `--some-name` and `--some_name`. */
export function both(dashed: string): readonly string[] {
  return [dashed, `--${dashed.slice(2).replaceAll('-', '_')}`];
}
