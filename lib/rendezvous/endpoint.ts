import type { NetworkInterfaceInfo } from 'node:os';
import { isIpv6, isLoopback, unmapped } from '../util/address.js';
import { deferred } from '../util/deferred.js';

/**
 * Who has the server at the endpoint, and what a node's own address is for the others. Pure: what the machine and the name
 * service know is passed in.
 */

/** Addresses by interface, as node:os tells them. */
export type Interfaces = Readonly<
  Record<
    string,
    readonly Pick<NetworkInterfaceInfo, 'address' | 'family' | 'internal'>[] | undefined
  >
>;

export interface Machine {
  readonly interfaces: Interfaces;
  readonly hostname: string;
}

/** How a name is looked up. */
export interface Lookup {
  /** Addresses of a name; a rejection may be of the moment. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly pause: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** Ends the look-ups, those that don't come back as well. */
  readonly signal: AbortSignal;
}

/** Time to the next look-up of a name that isn't known yet; it doubles. */
const retry = { firstMs: 100, mostMs: 2_000 };

/** The interface that has the addresses of all services of a Kubernetes cluster, on every node of it. */
const servicesInterface = 'kube-ipvs0';

/**
 * Whether the server at the endpoint is this machine's: the endpoint is a loopback address or `localhost`, this machine's
 * name, or one of its addresses. As torchrun decides it, but with the addresses of all interfaces, with short names, and
 * without asking for the names of addresses.
 *
 * A name that isn't known yet is asked for again, until `signal` aborts: then it's somebody else's.
 *
 * @param host without brackets and port
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/utils.py, _matches_machine_hostname
 */
export async function isHostOf(
  host: string,
  { isHost, ...machine }: Machine & Lookup & { readonly isHost?: boolean | undefined },
): Promise<boolean> {
  if (isHost !== undefined) return isHost;
  const name = plainName(host);
  if (isLoopback(name) || name === '0.0.0.0' || name === '::') return true;
  if (isNumeric(name)) return isOwn(name, machine.interfaces);

  const own = plainName(machine.hostname);
  if (name === own || name === shortName(own)) return true;
  // A pod's long name may be known to nobody before it's ready, which it's only once it hosts.
  const maybeOwn = shortName(name) === own;
  const addresses = await look(name, machine, maybeOwn);
  if (addresses === undefined) return maybeOwn;
  // A link-local one comes without its link, and many machines have an fe80::1.
  return addresses.some(
    address =>
      !/^fe[89ab]/i.test(address) && (isLoopback(address) || isOwn(address, machine.interfaces)),
  );
}

/**
 * The address that other nodes reach this one at.
 *
 * @param local the local end of this node's connection to the endpoint
 * @param endpointIsLoopback whether the endpoint was given as a loopback address or `localhost`, so that all nodes are
 *   on this machine. A host may reach itself by loopback otherwise, too, where nobody else reaches it
 */
export function ownAddress(
  local: string,
  {
    localAddr,
    interfaces,
    endpointIsLoopback,
  }: {
    readonly localAddr?: string | undefined;
    readonly interfaces: Interfaces;
    readonly endpointIsLoopback: boolean;
  },
): string {
  if (localAddr !== undefined) return localAddr.replace(/^\[(.*)\]$/, '$1');
  const address = unmapped(local);
  if (isLoopback(address)) {
    return (endpointIsLoopback ? undefined : anOutsideAddress(address, interfaces)) ?? address;
  }
  return isLinkLocal(address) ? withLink(address, interfaces) : address;
}

/** The first address that others may know: of the same family, if it can be, and of no link alone. */
function anOutsideAddress(like: string, interfaces: Interfaces): string | undefined {
  const family = like.includes(':') ? 'IPv6' : 'IPv4';
  const outside = Object.entries(interfaces).flatMap(([name, addresses = []]) =>
    name === servicesInterface ? [] : addresses.filter(({ internal }) => !internal),
  );
  const wide = outside.filter(({ address }) => !isLinkLocal(address));
  const chosen = wide.find(each => each.family === family) ?? wide[0];
  if (chosen !== undefined) return chosen.address;
  const [narrow] = outside;
  return narrow === undefined ? undefined : withLink(narrow.address, interfaces);
}

/** A link-local address with the interface that it's of, since others need one, too. */
export function withLink(address: string, interfaces: Interfaces): string {
  if (!isIpv6(address) || address.includes('%')) return address;
  const link = Object.keys(interfaces).find(name =>
    interfaces[name]?.some(each => canonical(each.address) === canonical(address)),
  );
  return link === undefined ? address : `${address}%${link}`;
}

async function look(
  name: string,
  { resolve, pause, signal }: Lookup,
  onlyOnce: boolean,
): Promise<readonly string[] | undefined> {
  for (
    let pauseMs = retry.firstMs;
    !signal.aborted;
    pauseMs = Math.min(pauseMs * 2, retry.mostMs)
  ) {
    // Why it isn't known is told by the connection to it.
    const addresses = await untilAborted(resolve(name), signal).catch(() => undefined);
    if (addresses !== undefined && addresses.length > 0) return addresses;
    if (onlyOnce) return undefined;
    // It rejects if the signal aborts, which ends the loop.
    await pause(pauseMs, signal).catch(() => undefined);
  }
  return undefined;
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const aborted = deferred<undefined>();
  const abort = (): void => aborted.resolve(undefined);
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Whether an address is one of this machine's, and of no other one at once. @param text numeric, with a scope perhaps */
export function isOwn(text: string, interfaces: Interfaces): boolean {
  const [address = '', link] = text.split('%');
  const wanted = canonical(address);
  return Object.entries(interfaces).some(([name, addresses = []]) => {
    if (name === servicesInterface) return false;
    // A link that this machine calls otherwise, by number for example, is no reason to look at none.
    if (link !== undefined && link in interfaces && link !== name) return false;
    return addresses.some(each => canonical(each.address) === wanted);
  });
}

function isNumeric(host: string): boolean {
  return isIpv6(host) || /^\d{1,3}(\.\d{1,3}){3}$/.test(host);
}

export function isLinkLocal(address: string): boolean {
  return /^fe[89ab]|^169\.254\./i.test(address);
}

/** One text for each address, without its link: `FD00:0::1` and `fd00::1` are one. */
function canonical(text: string): string {
  const address = unmapped(text.split('%')[0] ?? '');
  if (!address.includes(':')) return address;
  // URL writes it as RFC 5952 wants it.
  return URL.canParse(`http://[${address}]`) ? new URL(`http://[${address}]`).hostname : address;
}

/** A name as it's compared: the case and a dot at its end say nothing. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function shortName(name: string): string {
  return name.split('.')[0] ?? name;
}
