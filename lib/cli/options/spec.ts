import type { LaunchOptions } from '../../options/launch-options.js';

/** `regroup-launch` stands for `python -m torch.distributed.launch`. */
export type CommandName = 'regroup' | 'regroup-launch';

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
  | 'observe'
  | 'stopping'
  | 'control'
  | 'about';

/** An option that the command line or a variable gives. */
export interface GivenOption {
  /** The option's dashed spelling. */
  readonly name: string;
  /** The value that was given; absent: a flag. */
  readonly value?: string;
  /** The variable that it came from. */
  readonly from?: string;
}

export type Env = Readonly<Record<string, string | undefined>>;

/** Values by torchrun's names: the command line's, else the environment's, else the default. */
export interface Values {
  text(dest: string): string | undefined;
  int(dest: string): number | undefined;
  float(dest: string): number | undefined;
  /** Milliseconds of an option that torchrun has in whole seconds; `90s` and its like are ours. */
  seconds(dest: string): number | undefined;
  flag(dest: string): boolean;
  /** Whether the command line or the environment says it, and not the default. */
  isGiven(dest: string): boolean;
  /** All that was given, in the order of the table. */
  given(): readonly GivenOption[];
  script(): string;
  scriptArgs(): readonly string[];
  /** Ends the parsing: `--option=value: why (accepted: …)`, or `PET_OPTION=value: …`. */
  refuse(dest: string, why: string, accepted: string): never;
}

/** Options of ours that belong together: what people may say, and what it means for `launch`. */
export interface Feature {
  readonly options: readonly OptionSpec[];
  /** Reads a subject's options. Absent ones are left away, so that the defaults stand in one place. @throws CommandLineError */
  read(values: Values, env: Env): Partial<LaunchOptions>;
}

/** `--some-name` and `--some_name`. */
export function both(dashed: string): readonly string[] {
  return [dashed, `--${dashed.slice(2).replaceAll('-', '_')}`];
}
