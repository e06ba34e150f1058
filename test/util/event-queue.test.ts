import t from 'tap';
import { broadcast } from '../../lib/util/event-queue.js';

async function read<T>(events: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of events) values.push(value);
  return values;
}

const numbers = () => broadcast<number>({ droppable: value => value < 0, maxDroppable: 2 });

t.test('each reader sees all from its subscription on', async t => {
  const { publish, subscribe, end } = numbers();
  publish(1);
  const early = subscribe();
  publish(2);
  const late = subscribe();
  publish(3);
  end();

  t.strictSame(await read(early), [2, 3]);
  t.strictSame(await read(late), [3]);
  t.strictSame(await read(subscribe()), []);
});

t.test('a slow reader loses the oldest droppable values and no others', async t => {
  const { publish, subscribe, end } = numbers();
  const slow = subscribe();
  for (const value of [1, -1, 2, -2, 3, -3, -4, 4]) publish(value);
  end();
  t.strictSame(await read(slow), [1, 2, 3, -3, -4, 4]);
});

t.test('a reader that has caught up may fall behind anew', async t => {
  const { publish, subscribe } = numbers();
  const iterator = subscribe()[Symbol.asyncIterator]();
  for (const value of [-1, -2]) publish(value);
  await iterator.next();
  await iterator.next();
  for (const value of [-3, -4, -5]) publish(value);
  t.strictSame(await iterator.next(), { done: false, value: -4 });
});

t.test('a reader that waits gets the next value, or the end', async t => {
  const { publish, subscribe, end } = numbers();
  const iterator = subscribe()[Symbol.asyncIterator]();
  const first = iterator.next();
  const second = iterator.next();
  publish(7);
  end();
  t.strictSame(await first, { done: false, value: 7 });
  t.strictSame(await second, { done: true, value: undefined });
});

t.test('leaving the loop ends the subscription', async t => {
  const { publish, subscribe } = numbers();
  const events = subscribe();
  publish(1);
  for await (const value of events) {
    t.equal(value, 1);
    break;
  }
  publish(2);
  t.strictSame(await read(events), []);
});
