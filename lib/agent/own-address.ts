import type { Coordination } from '../coordination/coordination.js';
import type { Settings } from '../options/launch-options.js';
import { type Interfaces, ownAddress } from '../rendezvous/endpoint.js';
import { addressOfInterface } from '../rendezvous/interface.js';

/** What a node's own address is found by. */
export interface OwnAddressClues {
  /** Local end of the connection to the endpoint. */
  readonly local: string;
  readonly interfaces: Interfaces;
  readonly endpointIsLoopback: boolean;
}

/**
 * The address that other nodes reach this one at.
 *
 * @param coordination closed where there's none
 * @throws ERR_OPTION
 */
export async function findOwnAddress(
  coordination: Pick<Coordination, 'close'>,
  { localAddr, interface: name }: Pick<Settings, 'localAddr' | 'interface'>,
  { local, interfaces, endpointIsLoopback }: OwnAddressClues,
): Promise<string> {
  try {
    return name === undefined
      ? ownAddress(local, { localAddr, interfaces, endpointIsLoopback })
      : addressOfInterface(name, interfaces, local);
  } catch (error) {
    await coordination.close();
    throw error;
  }
}
