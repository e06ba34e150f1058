import t from 'tap';
import { type Coordination, CoordinationError } from '../../lib/coordination/coordination.js';
import { withPatience } from '../../lib/rendezvous/patience.js';
import { isHopeless } from '../../lib/rendezvous/table.js';

const full = new CoordinationError('FULL', 'a:1: no more room');

/** An engine that has none, where it's told so. */
function engine() {
  let isFull = true;
  const engine = {
    put: () => (isFull ? Promise.reject(full) : Promise.resolve(1)),
    txn: () => Promise.reject(new CoordinationError('TIMEOUT', 'a:1: no answer')),
    watch: (_: string, __: number, listener: { ended(error: CoordinationError): void }) => {
      listener.ended(full);
      return { close() {} };
    },
  } as unknown as Coordination; // what isn't here isn't called
  const room = (is: boolean): void => {
    isFull = !is;
  };
  return { engine, room };
}

t.test('an engine without room is asked again for a minute, and then never again', async t => {
  let now = 1_000;
  const coordination = withPatience(engine().engine, () => now);
  const why = (): Promise<unknown> => coordination.put('a', 'b').catch(error => error);
  for (; now < 61_000; now += 5_000) t.notOk(isHopeless(await why()), `${now} ms`);

  const error = await why();

  t.ok(isHopeless(error));
  t.match(error, { code: 'FULL', message: 'a:1: no more room (it has had none for 60 s)' });
});

t.test('another shortage is another minute', async t => {
  let now = 0;
  const { engine: one, room } = engine();
  const coordination = withPatience(one, () => now);
  const why = (): Promise<unknown> => coordination.put('a', 'b').catch(error => error);
  await why();
  now = 55_000;
  t.notOk(isHopeless(await why()), 'nobody has asked for long');
  for (; now < 100_000; now += 9_000) await why();
  room(true);
  await coordination.put('a', 'b');
  room(false);
  now = 120_000;
  t.notOk(isHopeless(await why()), 'there was room in between');
});

t.test('what else goes wrong is told as it is, and watches are apart', async t => {
  let now = 0;
  const coordination = withPatience(engine().engine, () => now);
  await t.rejects(coordination.txn([], []), { code: 'TIMEOUT', isLasting: false });
  const ended: CoordinationError[] = [];
  const listener = { changed() {}, ended: (error: CoordinationError) => void ended.push(error) };
  for (; now <= 60_000; now += 5_000) coordination.watch('a', 1, listener);
  t.equal(ended.filter(isHopeless).length, 1);
  t.notOk(isHopeless(await coordination.put('a', 'b').catch(error => error)));
});
