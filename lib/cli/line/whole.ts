import type { Values } from '../options/spec.js';

/** A whole number of the command line; a sign only where one below 0 is meant. @throws CommandLineError */
export function readWhole(
  values: Values,
  dest: string,
  lowest: number,
  highest: number,
): number | undefined {
  const text = values.text(dest);
  if (text === undefined) return undefined;
  const form = lowest < 0 ? /^[-+]?\d+$/ : /^\d+$/;
  const number = form.test(text) ? Number(text) : Number.NaN;
  if (number >= lowest && number <= highest) return number;
  const accepted = `a whole number from ${lowest} to ${highest}`;
  return values.refuse(dest, `'${text}' is out of range or no number`, accepted);
}
