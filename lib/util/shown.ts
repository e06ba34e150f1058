/** Length of a value that's shown, at most: none needs more to be recognised, and a message stays on one line. */
const maxShown = 60;

/**
 * A value for a message: short, on one line, and never the inside of an object, a list or a function, which may be a
 * secret (the environment is an object) or have no end.
 */
export function shown(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(shortened(value));
    case 'bigint':
      return shortened(`${value}n`);
    case 'symbol':
      return 'a symbol';
    case 'function':
      return 'a function';
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? 'a list' : 'an object';
    default:
      return String(value); // a number, a boolean or undefined
  }
}

/** What sort of thing a value is, where the value itself must not be shown. */
export function kindOf(value: unknown): string {
  if (typeof value === 'string') return value.includes('\0') ? 'a text with NUL' : 'a text';
  if (typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol')
    return shown(value);
  return value === undefined ? 'undefined' : `a ${typeof value}`;
}

function shortened(text: string): string {
  return text.length <= maxShown ? text : `${text.slice(0, maxShown)}…`;
}
