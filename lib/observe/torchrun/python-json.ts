/**
 * A value as Python's json.dumps writes it: a space behind each comma and colon, and nothing but ASCII.
 *
 * @param floats names whose whole numbers are floats in Python: `0.0`
 * @source CPython 3.13, Lib/json/encoder.py, py_encode_basestring_ascii
 */
export function pythonJson(value: unknown, floats: readonly string[] = [], name = ''): string {
  if (typeof value === 'string') return pythonText(value);
  if (typeof value === 'number' && floats.includes(name) && Number.isInteger(value))
    return `${value}.0`;
  if (Array.isArray(value)) return `[${value.map(each => pythonJson(each, floats)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).map(
      ([key, each]) => `${pythonText(key)}: ${pythonJson(each, floats, key)}`,
    );
    return `{${fields.join(', ')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

function pythonText(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
