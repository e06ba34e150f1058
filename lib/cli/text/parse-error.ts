import { didYouMean } from '../../util/nearest.js';

/** What parseArgs has thrown, in one line; it throws TypeErrors for people, some with advice in further sentences. @param names of options */
export function describeParseError(error: unknown, names: readonly string[]): string {
  const why = (error as Error).message.split(/\. |\n/)[0] ?? '';
  const unknown = /^Unknown option '(--[^']*)'$/.exec(why)?.[1] ?? '';
  const options = names.map(name => `--${name}`);
  return `${why}${didYouMean(unknown, options)}`;
}
