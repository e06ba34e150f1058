import { launchError } from '../errors.js';
import { isIpv6, unmapped } from '../util/address.js';
import { type Interfaces, isLinkLocal, withLink } from './endpoint.js';

/**
 * A network interface's address for other nodes: its first one of the endpoint's family, rather not one of a link alone.
 * Pure.
 *
 * @param local the local end of this node's connection to the endpoint
 * @throws ERR_OPTION, which names those that there are
 */
export function addressOfInterface(name: string, interfaces: Interfaces, local: string): string {
  const family = isIpv6(unmapped(local)) ? 'IPv6' : 'IPv4';
  const own = addressesAt(name, interfaces).filter(each => each.family === family);
  const { address } = own.find(each => !isLinkLocal(each.address)) ?? own[0] ?? {};
  if (address !== undefined) return isLinkLocal(address) ? withLink(address, interfaces) : address;

  const has = addressesAt(name, interfaces).map(each => each.address);
  const what =
    has.length === 0
      ? `no network interface ${JSON.stringify(name)} has an address here`
      : `${name} has no ${family} address, as the endpoint's is, but ${has.join(', ')}`;
  throw launchError('ERR_OPTION', ['interface', `${what}; give one of ${listOf(interfaces)}`]);
}

/** @throws ERR_OPTION, as `addressOfInterface` does where it has none of any family */
export function checkInterface(name: string, interfaces: Interfaces): void {
  const [any] = addressesAt(name, interfaces);
  addressOfInterface(name, interfaces, any?.address ?? '');
}

function addressesAt(name: string, interfaces: Interfaces) {
  return Object.entries(interfaces).find(([each]) => each === name)?.[1] ?? [];
}

function listOf(interfaces: Interfaces): string {
  return Object.entries(interfaces)
    .map(([name, addresses = []]) => `${name} (${addresses.map(each => each.address).join(', ')})`)
    .join(', ');
}
