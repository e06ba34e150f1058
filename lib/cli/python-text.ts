/** Python's repr of a text, near enough for messages. */
export function repr(text: string): string {
  return text.includes("'") && !text.includes('"')
    ? `"${text}"`
    : `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Python's `int(text)`: blanks around it, a sign, underscores between digits. */
export function pythonInt(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^[+-]?\d+(_\d+)*$/.test(trimmed)) return undefined;
  return Number(trimmed.replaceAll('_', '')) + 0; // + 0 makes 0 of -0
}

/** Python's `float(text)`. */
export function pythonFloat(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  const special = /^([+-]?)(nan|inf|infinity)$/.exec(trimmed);
  if (special !== null) {
    if (special[2] === 'nan') return Number.NaN;
    return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const digits = '\\d+(_\\d+)*';
  const number = new RegExp(`^[+-]?(${digits}(\\.(${digits})?)?|\\.${digits})(e[+-]?${digits})?$`);
  return number.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : undefined;
}

/** What `int(text)` raises. */
export function invalidInt(text: string): string {
  return `invalid literal for int() with base 10: ${repr(text)}`;
}
