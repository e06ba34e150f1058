import { asciiJson } from '../ascii.js';

/**
 * A value as Python's json.dumps writes it: a space behind each comma and colon, and nothing but ASCII.
 *
 * @param floats names whose whole numbers are floats in Python: `0.0`
 * @source CPython 3.13, Lib/json/encoder.py, py_encode_basestring_ascii
 */
export function pythonJson(value: unknown, floats: readonly string[] = [], name = ''): string {
  if (typeof value === 'string') return asciiJson(JSON.stringify(value));
  if (typeof value === 'number' && floats.includes(name) && Number.isInteger(value))
    return `${value}.0`;
  if (Array.isArray(value)) return `[${value.map(each => pythonJson(each, floats)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).map(
      ([key, each]) => `${asciiJson(JSON.stringify(key))}: ${pythonJson(each, floats, key)}`,
    );
    return `{${fields.join(', ')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
