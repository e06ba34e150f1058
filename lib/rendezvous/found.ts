import { atMost } from '../util/deferred.js';
import type { Together } from './together.js';

/** For a search that has been given up. */
const closeMs = 2_000;

/**
 * A rendezvous whose kind shows only where the nodes meet: it's looked for at the first `join`, and what is asked of it until
 * then is asked once it's found.
 *
 * @param failed called once, with why it can't be found
 */
export function createFound(
  find: () => Promise<Together>,
  failed: (error: unknown) => void,
): Together {
  let found: Together | undefined;
  let finding: Promise<void> | undefined;
  let isOver = false;
  const asked: ((of: Together) => void)[] = [];

  async function begin(): Promise<void> {
    try {
      const there = await find();
      if (isOver) return await there.close();
      found = there;
      for (const ask of asked.splice(0)) ask(there);
    } catch (error) {
      if (!isOver) failed(error);
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
      finding ??= begin();
    },
    announce: round => tell(of => of.announce(round)),
    report: report => tell(of => of.report(report)),
    succeed: round => tell(of => of.succeed(round)),
    leave: () => tell(of => of.leave()),
    conclude: failures => tell(of => of.conclude(failures)),
    async close() {
      isOver = true;
      if (found === undefined) await atMost(closeMs, Promise.resolve(finding));
      else await found.close();
    },
  };
}
