import { kindOf, shown } from '../util/shown.js';
import { type Check, isRecord, isText } from './checks.js';

const accepted = 'names without = and texts without NUL';

/** Variables that workers inherit. Their values are secrets, as far as anybody knows. */
export const environment: Check = [
  value =>
    isRecord(value) && Object.entries(value).every(entry => problemWith(entry) === undefined),
  accepted,
  value => {
    if (!isRecord(value)) return `${kindOf(value)} is not accepted; give an object of ${accepted}`;
    return Object.entries(value)
      .map(problemWith)
      .find(problem => problem !== undefined);
  },
];

function problemWith([name, value]: [string, unknown]): string | undefined {
  if (name === '') return 'a name is empty; give names';
  if (/[=\0]/.test(name)) return `${shown(name)} is no name of a variable; give ${accepted}`;
  if (value === undefined || isText(value)) return undefined;
  return `${shown(name).slice(1, -1)} is ${described(name, value)}; give texts without NUL`;
}

/** A number or a flag is what it is, unless its name says that it's nobody's business. */
function described(name: string, value: unknown): string {
  const isPlain = ['number', 'boolean', 'bigint'].includes(typeof value);
  const isSecret = /key|token|secret|pass|auth|cred/i.test(name);
  return isPlain && !isSecret ? `${shown(value)} (${kindOf(value)})` : kindOf(value);
}
