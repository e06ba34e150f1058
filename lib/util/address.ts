/** `host:port`, and `[host]:port` for an IPv6 address. */
export function addressOf(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** What `HOST`, `HOST:PORT` or `[IPV6]:PORT` names. */
export interface Address {
  /** A name, or an address without brackets; that of a link has the link behind a `%`. */
  readonly host: string;
  readonly port?: number;
}

/**
 * Why a text is no address. `unclear`: an IPv6 address without brackets whose end may be a port as well, like
 * `fd00::1:5000`.
 */
export type AddressProblem = 'bad-port' | 'bad-host' | 'unclear';

/** Parses an address. Unlike torchrun, whose `::1` is port 1 of the host `:`, this knows IPv6 addresses without brackets. */
export function parseAddress(text: string): Address | AddressProblem {
  const bracketed = /^\[([^[\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) {
    const [, host = '', port] = bracketed;
    return isHost(host) ? withPort(host, port) : 'bad-host';
  }

  const colon = text.lastIndexOf(':');
  const isWhole = isIpv6(text);
  if (colon < 0 || (isWhole && !isIpv6(text.slice(0, colon)))) {
    return isHost(text) ? { host: text } : 'bad-host';
  }
  const port = text.slice(colon + 1);
  // Nobody could tell which of the two is meant; hexadecimal digits are no port.
  if (isWhole) return /^\d+$/.test(port) ? 'unclear' : { host: text };
  const host = text.slice(0, colon);
  return isHost(host) ? withPort(host, port) : 'bad-host';
}

/** The same for several, with commas between them. */
export function parseAddresses(text: string): readonly Address[] | AddressProblem {
  const addresses: Address[] = [];
  for (const each of text.split(',')) {
    const address = parseAddress(each.trim());
    if (typeof address !== 'object') return address;
    addresses.push(address);
  }
  return addresses;
}

function withPort(host: string, digits: string | undefined): Address | AddressProblem {
  if (digits === undefined) return { host };
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : Number.NaN;
  return port <= 65_535 ? { host, port } : 'bad-port';
}

function isHost(text: string): boolean {
  return /^[\w.-]+$/.test(text) || isIpv6(text);
}

/** An IPv6 address without brackets; `fe80::1%eth0` is one, too. */
export function isIpv6(text: string): boolean {
  const [, address = '', zone = 'lo'] = /^([^%]*)(?:%(.*))?$/s.exec(text) ?? [];
  // Loaded where somebody has a colon to look at.
  return (
    address.includes(':') &&
    /^[\w.@-]+$/.test(zone) &&
    process.getBuiltinModule('node:net').isIPv6(address)
  );
}

/** An address of either family, without brackets, and no name. */
export function isNumeric(text: string): boolean {
  const parts = text.split('.');
  const isIpv4 = parts.length === 4 && parts.every(part => /^\d{1,3}$/.test(part) && +part < 256);
  return isIpv4 || isIpv6(text);
}

/** Whether a name or an address is this machine's alone. */
export function isLoopback(host: string): boolean {
  const address = host.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
  return address === 'localhost' || address === '::1' || /^127(\.\d{1,3}){3}$/.test(address);
}

/** `10.0.0.1` of `::ffff:10.0.0.1`, which is what a socket for both families says. */
export function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
}
