import { type Settings, tableVersion } from '../../../lib/rendezvous/job/shared.js';

/** Settings of a job, of which a test says what it's about. */
export function settingsOf(
  given: Partial<Settings> & Pick<Settings, 'minNodes' | 'maxNodes'>,
): Settings {
  return { version: tableVersion, nodesPerUnit: 1, nodesSet: [], groupSize: 1, ...given };
}
