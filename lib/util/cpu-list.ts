/** Protects against lists that would fill memory; the kernel's own limit is 8,192 CPUs. */
export const maxListed = 8_192;

/**
 * The kernel's list format: `0-3,8`, also `0-31:2/8`, the first two of each eight. Empty text is an
 * empty list: nodes without CPUs have it.
 *
 * @returns ascending and without doubles; undefined if it isn't a list
 * @source Linux, Documentation/admin-guide/kernel-parameters.rst, cpu lists
 */
export function parseList(text: string): number[] | undefined {
  const trimmed = text.trim();
  const found = new Set<number>();
  if (trimmed === '') return [];
  for (const part of trimmed.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5})(?::(\d{1,5})\/(\d{1,5}))?)?$/.exec(part.trim());
    if (match === null) return undefined;

    const first = Number(match[1]);
    const last = Number(match[2] ?? first);
    const used = Number(match[3] ?? 1);
    const group = Number(match[4] ?? 1);
    if (last < first || last >= maxListed || used < 1 || used > group) return undefined;
    for (let each = first; each <= last; each++) {
      if ((each - first) % group < used) found.add(each);
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** @param numbers ascending */
export function formatList(numbers: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const each of numbers) {
    const range = ranges.at(-1);
    if (range !== undefined && each === range[1] + 1) range[1] = each;
    else ranges.push([each, each]);
  }
  return ranges
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(',');
}
