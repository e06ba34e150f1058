import { didYouMean } from '../../util/nearest.js';
import type { CommandName, OptionSpec } from '../options/spec.js';
import { type Action, ArgumentParser, REMAINDER, SUPPRESS } from './argparse.js';
import { usageError } from './command-line-error.js';

/** What was given, as it was given: text, `true` for flags, a list for the script's arguments. */
export type Given = ReadonlyMap<string, string | true | readonly string[]>;

/** The methods of argparse's parser that we replace: they print and exit. */
interface ParserInternals {
  _get_option_tuples(
    option: string,
  ): [action: Action, name: string, sep: unknown, value: unknown][];
}

/**
 * What argparse makes of the arguments, without looking at a value.
 *
 * @throws CommandLineError
 */
export function parseGrammar(
  command: CommandName,
  table: readonly OptionSpec[],
  argv: readonly string[],
): Given | 'help' | 'version' {
  const options = table.filter(option => mayBeMeant(option, argv));
  const originOf = new Map(
    options.flatMap(option => option.names.map(name => [name, option.origin])),
  );
  const parser = new ArgumentParser({
    prog: command,
    add_help: false,
    argument_default: SUPPRESS,
    color: false,
  });

  let ending: 'help' | 'version' | undefined;
  const stop = (what: 'help' | 'version') => {
    ending ??= what;
    throw new Error(what);
  };
  // The declared type leaves the underscored methods out; argparse's own subclasses replace them.
  const inherited = (parser as unknown as ParserInternals)._get_option_tuples.bind(parser);
  const replaced: ParserInternals & Record<string, unknown> = {
    error(message: string) {
      // Pythons that torchrun runs on count the rest as required too; scripts match their text.
      const isScript = message === 'the following arguments are required: training_script';
      const more = isScript ? ', training_script_args' : meantInstead(table, message);
      return usageError(command, `${message}${more}`);
    },
    print_help: () => stop('help'),
    exit: () => stop('version'),
    // argparse's own asks process.stdout for its width. That loads the network stack, and makes
    // a pipe non-blocking which workers will inherit.
    _get_validation_formatter: () => ({ _format_args: () => '' }),
    _check_help: () => undefined,
    _print_message: () => undefined,
    _get_option_tuples(prefix) {
      const matches = inherited(prefix);
      const known = matches.filter(([, name]) =>
        ['torchrun', 'launch'].includes(originOf.get(name) ?? ''),
      );
      const later = matches.filter(([, name]) => originOf.get(name) === 'later torchrun');
      const candidates = known.length > 0 ? known : later;
      // Both spellings of one option aren't two options. Python sees it so since 3.12.8 only.
      const [first] = candidates;
      if (first !== undefined && candidates.every(([action]) => action === first[0]))
        return [first];
      return candidates;
    },
  };
  Object.assign(parser, replaced);
  for (const option of options) addOption(parser, option);
  parser.add_argument('training_script', {});
  parser.add_argument('training_script_args', { nargs: REMAINDER });

  try {
    const namespace = parser.parse_args([...argv]) as Record<string, string | true | string[]>;
    return new Map(Object.entries(namespace));
  } catch (error) {
    if (ending !== undefined) return ending;
    throw error;
  }
}

/**
 * Whether some argument could be this option or a prefix of it. argparse looks options up by their
 * beginnings only, so the others needn't be told to it, at 0.1 ms each.
 */
function mayBeMeant(option: OptionSpec, argv: readonly string[]): boolean {
  return option.names.some(
    name =>
      // Short ones may hide in a cluster, like -mt.
      name.length === 2 || argv.some(arg => arg.startsWith('-') && name.startsWith(nameIn(arg))),
  );
}

/** What the first of the unknown options was probably meant to be; empty for other messages. */
function meantInstead(table: readonly OptionSpec[], message: string): string {
  const unknown = /^unrecognized arguments: (.*)$/s.exec(message)?.[1]?.split(' ') ?? [];
  const option = unknown.find(word => word.startsWith('--'));
  if (option === undefined) return '';
  const names = table.flatMap(({ names }) => names.filter(name => /^--[^_]+$/.test(name)));
  return didYouMean(nameIn(option), names);
}

/** `--nodes` of `--nodes=2`. */
function nameIn(arg: string): string {
  const equals = arg.indexOf('=');
  return equals < 0 ? arg : arg.slice(0, equals);
}

function addOption(parser: ArgumentParser, option: OptionSpec): void {
  const names = [...option.names] as [string, ...string[]]; // the table has no option without a name
  const { dest } = option;
  switch (option.takes) {
    case 'flag':
      parser.add_argument(...names, { dest, action: 'store_true', default: SUPPRESS });
      return;
    case 'help':
      parser.add_argument(...names, { dest, action: 'help' });
      return;
    case 'version':
      parser.add_argument(...names, { dest, action: 'version', version: '-' });
      return;
    default:
      // Values are converted later, so that the command line and PET_* take the same way.
      parser.add_argument(...names, { dest });
  }
}
