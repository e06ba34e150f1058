import type { CommandName } from '../options/spec.js';

/** The command line is wrong. Nobody but `parseCommand` catches it. */
export class CommandLineError extends Error {
  constructor(
    readonly exitCode: 1 | 2,
    text: string,
  ) {
    super(text);
  }
}

/** argparse's exit code 2, with its usage in short. */
export function usageError(command: CommandName, message: string): never {
  throw new CommandLineError(
    2,
    `usage: ${command} [options] training_script [arguments of the script]\n` +
      `       ${command} --help lists the options\n` +
      `${command}: error: ${oneLine(message)}`,
  );
}

/** Refusal in one line: where the value came from, torchrun's own text where it has one, what would do. */
export function refusal(
  command: CommandName,
  source: string,
  why: string,
  accepted: string,
): CommandLineError {
  return new CommandLineError(
    1,
    oneLine(`${command}: error: ${source}: ${why} (accepted: ${accepted})`),
  );
}

/** Keeps a message with somebody's text in it on one line. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, char =>
    char === '\n' ? '\\n' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
