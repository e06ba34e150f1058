/**
 * The name that was probably meant: one that is written the same but for dashes and case, that is at most a third of its
 * letters away, or that begins or ends with what was given. Undefined where none is.
 */
export function nearest(given: string, names: readonly string[]): string | undefined {
  const wanted = bare(given);
  if (wanted.length < 2 || wanted.length > maxLength) return undefined;

  const within = Math.max(1, Math.floor(wanted.length / 3));
  let best: { readonly name: string; readonly away: number } | undefined;
  for (const name of names) {
    const away = distance(wanted, bare(name));
    if (away <= within && away < (best?.away ?? Number.POSITIVE_INFINITY)) best = { name, away };
  }
  if (best !== undefined || wanted.length < 3) return best?.name;
  return names.find(name => bare(name).startsWith(wanted) || bare(name).endsWith(wanted));
}

/** `; did you mean X?`, or nothing: the end of a message about a name that there isn't. */
export function didYouMean(given: string, names: readonly string[]): string {
  const name = nearest(given, names);
  return name === undefined ? '' : `; did you mean ${name}?`;
}

/** Nobody mistypes longer names, and the distance takes the square of it. */
const maxLength = 100;

function bare(name: string): string {
  return name.replaceAll(/[-_\s]/g, '').toLowerCase();
}

/**
 * How many letters have to be added, left away, replaced or swapped with their neighbour.
 *
 * @source Damerau–Levenshtein, as optimal string alignment: no part is edited twice
 */
function distance(from: string, to: string): number {
  let before: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      const isSwap = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      row[j] = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + cost,
        isSwap ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = row;
  }
  return last[to.length] ?? 0;
}
