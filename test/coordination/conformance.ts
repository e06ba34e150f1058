import type { Test } from 'tap';
import type { Coordination } from '../../lib/coordination/coordination.js';
import type { Begin } from './conformance/begin.js';
import { failures } from './conformance/failures.js';
import { keys } from './conformance/keys.js';
import { leases } from './conformance/leases.js';
import { model } from './conformance/model.js';
import { transactions } from './conformance/transactions.js';
import { watches } from './conformance/watches.js';

/** An engine that all of its clients share; empty or not. */
export interface EngineUnderTest {
  connect(): Promise<Coordination>;
  /** Ends who serves the clients, and starts it again with what it had. All connections are lost. */
  restart?(): Promise<void>;
  /** Forgets the changes before this revision. */
  compact?(revision: number): Promise<void>;
  /**
   * Stops who serves this client, until thaw(): it takes connections and says nothing. Where the client has others
   * to turn to, they serve it.
   */
  freeze?(): Promise<void>;
  thaw?(): void;
}

/** The suite that every engine has to pass. */
export async function conformance(t: Test, engine: EngineUnderTest): Promise<void> {
  let count = 0;
  const begin: Begin = async t => {
    const c = await engine.connect();
    t.teardown(() => c.close());
    return { c, at: `conformance/${process.pid}-${count++}/` };
  };

  await t.test('keys', t => keys(t, begin));
  await t.test('transactions', t => transactions(t, begin));
  await t.test('leases', { jobs: 6 }, t => leases(t, begin));
  await t.test('watches', t => watches(t, begin));
  await t.test('model', t => model(t, begin));
  await t.test('failures', t => failures(t, begin, engine));
}
