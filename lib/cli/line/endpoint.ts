import { type Address, type AddressProblem, parseAddress } from '../../util/address.js';
import type { Values } from '../options/spec.js';
import type { Meeting } from './meeting.js';

/**
 * Where nodes meet, and where the workers of one static node do. Absent for etcd, whose endpoint nobody has a use for.
 *
 * @param isAlone whether there's one node, whose endpoint means what it does to torchrun
 * @throws CommandLineError
 */
export function resolveEndpoint(
  values: Values,
  { backend, endpoint }: Meeting,
  isAlone: boolean,
): Address | undefined {
  if (backend === 'c10d') return parseEndpoint(values, 'rdzv_endpoint', endpoint, isAlone);
  if (backend !== 'static') return undefined;

  const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_port';
  if (endpoint.trim() === '') {
    const why = 'Endpoint is missing in endpoint. Try to add --master-addr and --master-port';
    values.refuse(dest, why, 'HOST:PORT');
  }
  const address = parseEndpoint(values, dest, endpoint, isAlone);
  if (address.port === undefined) {
    const why = `port is missing in endpoint: ${endpoint.trim()}. Try to specify --master-port`;
    values.refuse(dest, why, 'HOST:PORT');
  }
  return address;
}

function parseEndpoint(values: Values, dest: string, text: string, isAlone: boolean): Address {
  const endpoint = text.trim();
  if (endpoint === '') return { host: 'localhost' };

  const address = isAlone ? asTorchrun(endpoint) : parseAddress(endpoint);
  switch (address) {
    case 'bad-port': {
      const why =
        `The port number of the rendezvous endpoint '${endpoint}' must be an integer ` +
        'between 0 and 65536.';
      return values.refuse(dest, why, 'HOST:PORT with a port from 0 to 65535');
    }
    case 'bad-host': {
      const why =
        `The hostname of the rendezvous endpoint '${endpoint}' must be a dot-separated list of ` +
        'labels, an IPv4 address, or an IPv6 address.';
      return values.refuse(dest, why, 'HOST[:PORT]');
    }
    case 'unclear': {
      const colon = endpoint.lastIndexOf(':');
      const split = `[${endpoint.slice(0, colon)}]${endpoint.slice(colon)}`;
      return values.refuse(dest, 'its end may be a port or not', `${split} or [${endpoint}]`);
    }
    default:
      return address;
  }
}

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, parse_rendezvous_endpoint */
function asTorchrun(endpoint: string): Address | AddressProblem {
  const isBareV6 = endpoint.startsWith('[') && endpoint.endsWith(']');
  const colon = isBareV6 ? -1 : endpoint.lastIndexOf(':');
  const rawHost = colon < 0 ? endpoint : endpoint.slice(0, colon);
  const host = /^\[.*\]$/.test(rawHost) && rawHost.length > 1 ? rawHost.slice(1, -1) : rawHost;
  const digits = colon < 0 ? undefined : endpoint.slice(colon + 1);
  const port = digits === undefined ? undefined : Number(digits);
  if (digits !== undefined && !(/^[0-9]{1,5}$/.test(digits) && Number(digits) < 65_536))
    return 'bad-port';
  if (!/^[\w.:-]+$/.test(host)) return 'bad-host';
  return { host, ...(port === undefined ? {} : { port }) };
}
