import { maxTimerMs } from '../util/duration.js';
import { didYouMean } from '../util/nearest.js';
import { kindOf, shown } from '../util/shown.js';
import { signalNames, signalNumber } from '../util/signals.js';

/** Whether a value of an option is acceptable, and what would be, for the one who gave it. */
export type Check = readonly [
  fits: (value: unknown) => boolean,
  accepted: string,
  /**
   * What's wrong with a value that doesn't fit: the whole sentence, where it's about a part of the value, or where the
   * value may be a secret. Absent, or without an answer: the value isn't accepted.
   */
  problem?: (value: unknown) => string | undefined,
];

export const text: Check = [
  value => isText(value) && value !== '',
  'a text that has no NUL and is not empty',
];

/** Check of a text that may hold a password: it's never shown. */
export const secretText: Check = secret(text);

export const texts: Check = [
  value => isList(value) && value.every(isText),
  'a list of texts without NUL',
  value => {
    if (!isList(value)) return undefined;
    const index = value.findIndex(each => !isText(each));
    return `its entry ${index} is ${kindOf(value[index])}; give a list of texts without NUL`;
  },
];

/** Check of texts that may hold passwords: they're never shown. */
export const secretTexts: Check = secret(texts);

export const flag: Check = [value => typeof value === 'boolean', 'true or false'];

export const milliseconds: Check = [
  value => typeof value === 'number' && value >= 0 && value <= maxTimerMs,
  `milliseconds from 0 to ${maxTimerMs}`,
];

export const signalName: Check = [
  value => typeof value === 'string' && signalNumber(value) !== undefined,
  'the name of a signal, like SIGUSR1',
  value =>
    typeof value === 'string'
      ? `${shown(value)} is not accepted; give the name of a signal, like SIGUSR1${didYouMean(value, signalNames)}`
      : undefined,
];

export function oneOf(...words: readonly string[]): Check {
  const accepted = words.map(word => `'${word}'`).join(' or ');
  return [
    value => words.includes(value as string), // includes compares anything
    accepted,
    value =>
      typeof value === 'string'
        ? `${shown(value)} is not accepted; give ${accepted}${didYouMean(value, words)}`
        : undefined,
  ];
}

/**
 * An object with some of these fields. What's wrong is told of the field.
 *
 * @param fits what fields that are acceptable one by one must also be together
 */
export function fieldsOf(
  fields: Readonly<Record<string, Check>>,
  accepted: string,
  fits: (value: Readonly<Record<string, unknown>>) => boolean = () => true,
): Check {
  const isWrong = ([name, value]: [string, unknown]): boolean =>
    value !== undefined && !checkOf(fields, name)?.[0](value);
  return [
    value => isRecord(value) && !Object.entries(value).some(isWrong) && fits(value),
    accepted,
    value => {
      const [name, wrong] = (isRecord(value) && Object.entries(value).find(isWrong)) || [];
      if (name === undefined) return undefined;
      const check = checkOf(fields, name);
      return check === undefined
        ? `it has no field ${shown(name)}${didYouMean(name, Object.keys(fields)) || `; give ${accepted}`}`
        : `${name}: ${problemOf(check, wrong)}`;
    },
  ];
}

/** What's wrong with a value that doesn't fit, without the option's name. */
export function problemOf([, accepted, problem]: Check, value: unknown): string {
  return problem?.(value) ?? `${shown(value)} is not accepted; give ${accepted}`;
}

/** The check of a name that may be anything, `constructor` too. */
export function checkOf(checks: Readonly<Record<string, Check>>, name: string): Check | undefined {
  return Object.hasOwn(checks, name) ? checks[name] : undefined;
}

/** Makes a check of a value that may hold a password: its kind is told, and not the value. */
export function secret([fits, accepted, problem]: Check): Check {
  return [
    fits,
    accepted,
    value => problem?.(value) ?? `${kindOf(value)} is not accepted; give ${accepted}`,
  ];
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The record that a text of JSON holds; undefined for any other text. */
export function recordIn(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined; // a SyntaxError is the answer
  }
}

export function isWhole(value: unknown, from: number, to = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to; // isSafeInteger has just told
}
