import t from 'tap';
import { expandNodeList } from '../../../lib/options/scheduler/node-list.js';

const lists: readonly [text: string, names: readonly string[] | undefined][] = [
  ['n1', ['n1']],
  ['gpu[001-003,010],login1', ['gpu001', 'gpu002', 'gpu003', 'gpu010', 'login1']],
  ['node[7,3,5]', ['node7', 'node3', 'node5']],
  ['n[8-11]', ['n8', 'n9', 'n10', 'n11']],
  ['n[098-101]', ['n098', 'n099', 'n100', 'n101']],
  ['rack[1-2]n[1-2]', ['rack1n1', 'rack1n2', 'rack2n1', 'rack2n2']],
  ['a-[1,3]-ib.x.org,b', ['a-1-ib.x.org', 'a-3-ib.x.org', 'b']],
  ['127.0.0.[2-3]', ['127.0.0.2', '127.0.0.3']],
  ['n1,n1', ['n1', 'n1']],
  ['n[5-5]', ['n5']],
  ['', undefined],
  ['(null)', undefined],
  ['n1,', undefined],
  ['n[]', undefined],
  ['n[1-]', undefined],
  ['n[3-1]', undefined],
  ['n[1-2', undefined],
  ['n1-2]', undefined],
  ['n[1,[2]]', undefined],
  ['n[a-c]', undefined],
  ['n 1', undefined],
  ['n[1-100000],m', undefined],
  ['n[0-999999999999999]', undefined],
  ['a[1-1000]b[1-1000]c[1-1000]', undefined],
];
for (const [text, names] of lists) {
  const what = names === undefined ? 'is no list' : `is ${names.length} nodes, in its order`;
  t.test(`MN-64 MN-65 ${text || 'nothing'} ${what}`, async t => {
    t.strictSame(expandNodeList(text), names);
  });
}

t.test('a list as long as a variable can be is expanded at once', async t => {
  const names = Array.from({ length: 20_000 }, (_, index) => `n${index * 3}`);

  t.equal(expandNodeList(names.join(','))?.join(), names.join());
  t.equal(expandNodeList('n[1-100000]')?.length, 100_000);
  t.equal(expandNodeList('['.repeat(131_072)), undefined);
  t.equal(expandNodeList(`n[${'1,'.repeat(65_000)}`), undefined);
  t.equal(expandNodeList(`${'a[1]'.repeat(30_000)}!`), undefined);
});

/** Numbers from 0 to below 1, the same in each run of one seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A list of names in Slurm's short form, and what it stands for. */
function makeList(next: () => number): { readonly text: string; readonly names: string[] } {
  const below = (count: number): number => Math.floor(next() * count);
  const items = Array.from({ length: 1 + below(4) }, () => {
    const prefix = ['n', 'gpu-', 'x.y', 'r1-'][below(4)] ?? '';
    const width = 1 + below(4);
    const ranges = Array.from({ length: 1 + below(3) }, () => {
      const first = below(90);
      const last = first + below(20);
      const pad = (number: number): string => String(number).padStart(width, '0');
      const text = first === last ? pad(first) : `${pad(first)}-${pad(last)}`;
      const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
      // As many digits as the first has, or more.
      const digits = pad(first).length;
      return { text, numbers: numbers.map(each => String(each).padStart(digits, '0')) };
    });
    const text = `${prefix}[${ranges.map(each => each.text).join(',')}]`;
    return { text, names: ranges.flatMap(each => each.numbers).map(each => prefix + each) };
  });
  return {
    text: items.map(each => each.text).join(','),
    names: items.flatMap(each => each.names),
  };
}

t.test('whatever was put together comes apart again', async t => {
  const next = random(16);
  for (let run = 0; run < 500; run++) {
    const { text, names } = makeList(next);
    const expanded = expandNodeList(text);
    if (JSON.stringify(expanded) !== JSON.stringify(names)) t.strictSame(expanded, names, text);
  }
  t.pass();
});

t.test('no text throws, or gives names that could be none', async t => {
  const next = random(64);
  const alphabet = 'n1[]-,0 9.(]x[\n';
  for (let run = 0; run < 5_000; run++) {
    const length = Math.floor(next() * 24);
    const text = Array.from(
      { length },
      () => alphabet[Math.floor(next() * alphabet.length)] ?? '',
    ).join('');
    const names = expandNodeList(text);
    if (names?.some(name => !/^[\w.-]+$/.test(name))) t.fail(JSON.stringify({ text, names }));
  }
  t.pass();
});
