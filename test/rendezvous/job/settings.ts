import { type Settings, tableVersion } from '../../../lib/rendezvous/job/shared.js';

/** Settings of a job, of which a test says what it's about. */
export function settingsOf(
  given: Partial<Settings> & Pick<Settings, 'minNodes' | 'maxNodes'>,
): Settings {
  const usual = { nodesPerUnit: 1, nodesSet: [], groupSize: 1, leaseMs: 5_000 };
  return { version: tableVersion, ...usual, ...given };
}
