import type { Surroundings } from '../../options/scheduler/allotment.js';
import { withScheduler } from '../options/scheduler.js';
import type { CommandName, Env } from '../options/spec.js';
import { optionsOf } from '../options/table.js';
import { CommandLineError } from './command-line-error.js';
import { parseGrammar } from './grammar.js';
import { type LaunchCommand, resolve } from './meaning.js';
import { flagsFromEnv, readValues } from './values.js';

export type ParsedCommand =
  | LaunchCommand
  | { readonly do: 'help' }
  | { readonly do: 'version' }
  /** `text` is all that goes to stderr, without its last line break. */
  | { readonly do: 'error'; readonly exitCode: 1 | 2; readonly text: string };

/**
 * Understands a command line as torchrun does. Pure: looks at nothing but its arguments.
 *
 * @param argv without node and script
 * @param around what a scheduler's variables may be about. @default none, and no scheduler is asked
 * @source spec/launcher.md §1; pytorch 2.13, torch/distributed/run.py, config_from_args and run
 */
export function parseCommand(
  command: CommandName,
  argv: readonly string[],
  env: Env,
  around?: Surroundings,
): ParsedCommand {
  try {
    const table = optionsOf(command);
    const flags = flagsFromEnv(command, table, env);
    const parsed = parseGrammar(command, table, argv);
    if (parsed === 'help' || parsed === 'version') return { do: parsed };

    const values = readValues(command, table, parsed, flags, env);
    return resolve(command, withScheduler(command, values, env, around), env);
  } catch (error) {
    if (!(error instanceof CommandLineError)) throw error;
    return { do: 'error', exitCode: error.exitCode, text: error.message };
  }
}
