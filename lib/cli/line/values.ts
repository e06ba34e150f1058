import { parseDuration } from '../../util/duration.js';
import { didYouMean } from '../../util/nearest.js';
import type { CommandName, Env, GivenOption, OptionSpec, Values } from '../options/spec.js';
import { refusal, usageError } from './command-line-error.js';
import type { Given } from './grammar.js';
import { invalidInt, pythonFloat, pythonInt, repr } from './python-text.js';

/**
 * `PET_*` of flags. They are read before anything else, so that a bad one fails `--help` too,
 * as in torchrun, though with one line.
 *
 * An empty text counts as on, where torchrun dies with a ValueError: Kubeflow's training operator
 * sets `PET_STANDALONE=` and means it.
 */
export function flagsFromEnv(
  command: CommandName,
  table: readonly OptionSpec[],
  env: Env,
): ReadonlySet<string> {
  const on = new Set<string>();
  for (const option of table) {
    const text = option.takes === 'flag' && option.env ? env[envName(option)] : undefined;
    if (text === undefined) continue;

    const value = text === '' ? 1 : pythonInt(text);
    if (value === undefined) {
      const accepted = '0 for off, another integer or nothing for on';
      throw refusal(command, `${envName(option)}=${text}`, invalidInt(text), accepted);
    }
    if (value !== 0) on.add(option.dest);
  }
  return on;
}

function envName(option: OptionSpec): string {
  return `PET_${option.dest.toUpperCase()}`;
}

/**
 * Converts what has a type, so that those complaints come before any other.
 *
 * @throws CommandLineError
 */
export function readValues(
  command: CommandName,
  table: readonly OptionSpec[],
  given: Given,
  flags: ReadonlySet<string>,
  env: Env,
): Values {
  const specs = new Map(table.map(option => [option.dest, option]));
  const fromEnv = (option: OptionSpec | undefined) =>
    option?.env ? env[envName(option)] : undefined;

  function text(dest: string): string | undefined {
    const value = given.get(dest);
    return typeof value === 'string'
      ? value
      : (fromEnv(specs.get(dest)) ?? specs.get(dest)?.default);
  }

  function convert(
    dest: string,
    type: string,
    parse: (text: string) => number | undefined,
  ): number | undefined {
    const value = text(dest);
    const number = value === undefined ? undefined : parse(value);
    if (value === undefined || number !== undefined) return number;

    const option = specs.get(dest);
    const from = given.has(dest) || option === undefined ? '' : ` (from ${envName(option)})`;
    const names = option?.names.join('/');
    return usageError(command, `argument ${names}: invalid ${type} value: ${repr(value)}${from}`);
  }

  function checkChoice(option: OptionSpec): void {
    const value = text(option.dest) ?? '';
    if (option.choices === undefined || option.choices.includes(value)) return;

    const why = `invalid choice: ${repr(value)} (choose from ${option.choices.map(repr).join(', ')})${didYouMean(value, option.choices)}`;
    usageError(command, `argument ${option.names.join('/')}: ${why}`);
  }

  function givenAs(option: OptionSpec): readonly GivenOption[] {
    const { dest, takes } = option;
    const isFlag = takes === 'flag';
    const isFromEnv =
      !given.has(dest) && (isFlag ? flags.has(dest) : fromEnv(option) !== undefined);
    if (!given.has(dest) && !isFromEnv) return [];
    const name = option.names.find(each => each.startsWith('--')) ?? dest;
    return [
      {
        name,
        ...(isFlag ? {} : { value: text(dest) ?? '' }),
        ...(isFromEnv ? { from: envName(option) } : {}),
      },
    ];
  }

  function sourceOf(dest: string): string {
    const option = specs.get(dest);
    if (option === undefined) return `${dest}=${values.script()}`;

    const isFromEnv = !given.has(dest) && fromEnv(option) !== undefined;
    const name = isFromEnv ? envName(option) : option.names.find(name => name.startsWith('--'));
    return option.takes === 'flag' ? `${name}` : `${name}=${text(dest) ?? ''}`;
  }

  const values: Values = {
    text,
    int: dest => convert(dest, 'int', pythonInt),
    float: dest => convert(dest, 'float', pythonFloat),
    seconds: dest => convert(dest, 'int', secondsOrDuration),
    flag: dest => given.has(dest) || flags.has(dest),
    isGiven(dest) {
      const option = specs.get(dest);
      return given.has(dest) || (option !== undefined && fromEnv(option) !== undefined);
    },
    given: () => [...specs.values()].flatMap(givenAs),
    script: () => String(given.get('training_script')),
    scriptArgs() {
      const args = given.get('training_script_args');
      return Array.isArray(args) ? args : [];
    },
    refuse(dest, why, accepted) {
      throw refusal(command, sourceOf(dest), why, accepted);
    },
  };

  // As in torchrun, the conversions come before any check of what the values mean.
  for (const [dest, option] of specs) {
    if (option.takes === 'int') values.int(dest);
    if (option.takes === 'float') values.float(dest);
    if (option.takes === 'seconds') values.seconds(dest);
    if (given.has(dest)) checkChoice(option);
  }
  return values;
}

function secondsOrDuration(text: string): number | undefined {
  const seconds = pythonInt(text);
  if (seconds !== undefined) return seconds * 1000;
  return /[a-z]\s*$/.test(text) ? parseDuration(text) : undefined;
}
