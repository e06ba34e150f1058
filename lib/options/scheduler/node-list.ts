/** The most names that one list may have: nobody has such a machine, and a slip of the pen shall not take all memory. */
const maxNames = 100_000;

/**
 * Expands Slurm's short form of a list of nodes, `gpu[001-003,010],login1`, in the order in which it names them, which is that
 * of Slurm's own numbers of nodes. As `scontrol show hostnames`, which containers seldom have.
 *
 * @returns undefined for what is no such list
 * @source Slurm 22.05, src/common/hostlist.c, hostlist_create
 */
export function expandNodeList(text: string): readonly string[] | undefined {
  const names: string[] = [];
  for (const item of splitOutside(text)) {
    const expanded = expandItem(item, maxNames - names.length);
    if (expanded === undefined) return undefined;
    names.push(...expanded);
  }
  return names;
}

/** Splits at commas that are in no brackets. In one pass: a list may be as long as a variable, 128 KiB. */
function splitOutside(text: string): readonly string[] {
  const items: string[] = [];
  let isInside = false;
  for (const part of text.split(',')) {
    if (isInside) items.push(`${items.pop()},${part}`);
    else items.push(part);
    const [opens, closes] = [part.lastIndexOf('['), part.lastIndexOf(']')];
    if (opens !== closes) isInside = opens > closes;
  }
  return items;
}

/** The names of `rack[1-2]n[1-2]`: the last brackets count fastest. */
function expandItem(item: string, most: number): readonly string[] | undefined {
  if (!/^[\w.-]*(\[[\d,-]+\][\w.-]*)*$/.test(item) || item === '') return undefined;
  // With one group in the pattern every second part is what was in brackets.
  const parts = item.split(/\[([^\]]*)\]/);
  let names: readonly string[] = [''];
  for (const [index, part] of parts.entries()) {
    const numbers = index % 2 === 0 ? [part] : expandRanges(part, most / names.length);
    if (numbers === undefined || numbers.length * names.length > most) return undefined;
    names = names.flatMap(name => numbers.map(number => `${name}${number}`));
  }
  return names;
}

/** The numbers of `001-003,010`, with their zeros in front. */
function expandRanges(text: string, most: number): readonly string[] | undefined {
  const numbers: string[] = [];
  for (const range of text.split(',')) {
    const [, first = '', last = first] = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(range) ?? [];
    const count = Number(last) - Number(first) + 1;
    if (first === '' || count < 1 || numbers.length + count > most) return undefined;
    for (let index = 0; index < count; index++)
      numbers.push(String(Number(first) + index).padStart(first.length, '0'));
  }
  return numbers;
}
