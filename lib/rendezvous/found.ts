import type { Together } from './together.js';

/** What a search has come to: a connection, with which a rendezvous begins, or which nobody needs any more. */
export interface Found {
  /** @param soughtMs what has passed since the first `join` */
  begin(soughtMs: number): Together;
  close(): Promise<void>;
}

/**
 * A rendezvous whose kind shows only where the nodes meet: it's looked for at the first `join`, and what is asked of it until
 * then is asked once it's found.
 *
 * @param find whoever closes the rendezvous ends it as well; what it comes to then is closed
 * @param failed called once, with why it can't be found
 */
export function createFound(
  find: () => Promise<Found>,
  failed: (error: unknown) => void,
): Together {
  let found: Together | undefined;
  let isSought = false;
  let isOver = false;
  const asked: ((of: Together) => void)[] = [];

  async function search(): Promise<void> {
    const sinceMs = performance.now();
    try {
      const there = await find();
      if (isOver) return await there.close();
      const begun = begin(there, performance.now() - sinceMs);
      found = begun;
      for (const ask of asked.splice(0)) ask(begun);
    } catch (error) {
      if (!isOver) failed(error);
    }
  }

  function begin(there: Found, soughtMs: number): Together {
    try {
      return there.begin(soughtMs);
    } catch (error) {
      there.close().catch(() => {}); // why it can't begin is what matters
      throw error;
    }
  }

  function tell(ask: (of: Together) => void): void {
    if (found === undefined) asked.push(ask);
    else ask(found);
  }

  return {
    fenced: atMs => found?.fenced(atMs),
    serves: round => found?.serves(round) === true,
    join() {
      tell(of => of.join());
      if (isSought) return;
      isSought = true;
      void search();
    },
    announce: round => tell(of => of.announce(round)),
    report: report => tell(of => of.report(report)),
    succeed: round => tell(of => of.succeed(round)),
    leave: () => tell(of => of.leave()),
    conclude: failures => tell(of => of.conclude(failures)),
    async close() {
      isOver = true;
      await found?.close();
    },
  };
}
