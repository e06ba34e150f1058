import fc from 'fast-check';
import type { Test } from 'tap';
import type { Compare, Coordination, WatchEvent } from '../../../lib/coordination/coordination.js';
import { record } from '../recorder.js';
import type { Begin } from './begin.js';

/** By key; the revision of its last change, and what it holds. */
type Table = ReadonlyMap<string, { readonly value: string; readonly modified: number }>;

type Operation =
  | { readonly do: 'put'; readonly key: string; readonly value: string }
  | { readonly do: 'create' | 'delete' | 'replace'; readonly keys: readonly string[] };

const key = fc.constantFrom('a', 'a/1', 'a/10', 'a/2', 'b');
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ do: fc.constant('put' as const), key, value: fc.string({ maxLength: 3 }) }),
  fc.record({
    do: fc.constantFrom('create' as const, 'delete' as const, 'replace' as const),
    keys: fc.uniqueArray(key, { minLength: 1, maxLength: 3 }),
  }),
);

/** Random operations give what a map gives, and the history that a watch tells, replayed, gives the same. */
export async function model(t: Test, begin: Begin): Promise<void> {
  const { c, at } = await begin(t);
  let run = 0;

  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 20 }), async operations => {
      const prefix = `${at}${run++}/`;
      const start = (await c.get(prefix)).revision;
      const watch = record(c, prefix, start + 1);
      let table: Table = new Map();
      let revision = start;
      for (const operation of operations) {
        [table, revision] = await both(c, prefix, operation, table, revision);
      }
      const end = await c.put(`${prefix}end`, '');
      await watch.told(end);
      watch.close();

      const late = record(c, prefix, start + 1);
      await late.told(end);
      late.close();
      const { entries } = await c.get(prefix);
      const got: Table = new Map(
        entries.map(({ key, value, modified }) => [key, { value, modified }]),
      );
      const wanted = sorted(new Map([...table, [`${prefix}end`, { value: '', modified: end }]]));
      t.strictSame(sorted(got), wanted);
      t.strictSame(sorted(replayed(watch.events)), wanted);
      t.strictSame(late.events, watch.events);
    }),
    { numRuns: 15 },
  );
}

/** Does it to the engine and to the table. @returns the new table, and the newest revision */
async function both(
  c: Coordination,
  prefix: string,
  operation: Operation,
  table: Table,
  revision: number,
): Promise<[Table, number]> {
  if (operation.do === 'put') {
    const modified = await c.put(prefix + operation.key, operation.value);
    if (modified <= revision) throw new Error(`revision ${modified} came after ${revision}`);
    const entry = { value: operation.value, modified };
    return [new Map([...table, [prefix + operation.key, entry]]), modified];
  }

  const keys = operation.keys.map(key => prefix + key);
  const compares = keys.map((key): Compare => {
    const { modified } = table.get(key) ?? {};
    if (operation.do === 'create' || modified === undefined) return { key, is: 'absent' };
    return { key, modified };
  });
  const value = operation.do;
  const isDelete = value === 'delete';
  const changes = keys.map(key => (isDelete ? { delete: key } : { put: key, value }));
  const result = await c.txn(compares, changes);

  const isDone = operation.do !== 'create' || keys.every(key => !table.has(key));
  if (result.isDone !== isDone) throw new Error(`${operation.do} of ${keys}: ${result.isDone}`);
  if (!isDone) return [table, revision];
  const rest = [...table].filter(([key]) => !keys.includes(key));
  const entry = { value, modified: result.revision };
  const made = isDelete ? [] : keys.map(key => [key, entry] as const);
  return [new Map([...rest, ...made]), result.revision];
}

function replayed(events: readonly WatchEvent[]): Table {
  const table = new Map<string, { value: string; modified: number }>();
  for (const event of events) {
    if (event.type === 'delete') table.delete(event.key);
    else {
      const { key, value, modified } = event.entry;
      table.set(key, { value, modified });
    }
  }
  return table;
}

function sorted(table: Table): unknown {
  return [...table].sort(([a], [b]) => (a < b ? -1 : 1));
}
