import { launchError, onMachine } from '../errors.js';
import { addressesOf } from '../system/names.js';
import { needPool } from '../system/pool.js';
import { codeOf } from '../util/errno.js';

/** Lists of numeric addresses to serve at, in the order in which they're tried. */
export type Hosts = readonly (readonly string[])[];

/** Every address of this machine. */
export const everyHost: Hosts = [['::'], ['0.0.0.0']];

const loopback = ['127.0.0.1', '::1'] as const;

/** Wait for the name service until it's given up. Its own patience may be minutes. */
const resolveMs = 10_000;

/**
 * Where the table of a numeric address, or of `localhost`, is served; absent for any other name.
 *
 * Workers on this node reach a loopback address by loopback only, so nobody else is served then. An
 * address is served as it is: if it isn't this machine's, workers would wait for it until they give up,
 * and so we learn it now.
 */
export function numericHosts(masterAddr: string): Hosts | undefined {
  // `localhost` means either of them, depending on the resolver.
  if (masterAddr === 'localhost' || masterAddr === '127.0.0.1') return [loopback, ['127.0.0.1']];
  const isNumeric = masterAddr.includes(':') || /^\d{1,3}(\.\d{1,3}){3}$/.test(masterAddr);
  return isNumeric ? [[masterAddr]] : undefined;
}

/** What a name means for the workers of this node, and so for us. */
export interface NamedHosts {
  readonly hosts: Hosts;
  /** Why workers may not reach us by this name. */
  readonly doubt?: string;
}

/**
 * Where the table of a name is served: at the addresses that workers will find for it, and at loopback. A
 * name for none of this machine's addresses may be a service's that leads here, so that's no error.
 *
 * The name service is asked by a thread of Node's pool, which may be kept for as long as the service likes.
 *
 * @throws ERR_PORT if it can't be resolved by then
 */
export async function resolveHosts(
  name: string,
  signal: AbortSignal,
  timeoutMs = resolveMs,
): Promise<NamedHosts> {
  const resolved = await resolve(name, signal, timeoutMs);
  const { networkInterfaces } = process.getBuiltinModule('node:os');
  const own = Object.values(networkInterfaces()).flatMap(each => each?.map(one => one.address));
  return hostsOfName(name, resolved, new Set(own.filter(each => each !== undefined)));
}

/** Addresses of this machine that others may reach it at, without those of one link. */
export function ownAddresses(): readonly string[] {
  const { networkInterfaces } = process.getBuiltinModule('node:os');
  const all = Object.values(networkInterfaces()).flatMap(each => each ?? []);
  const isReached = ({ internal, address }: (typeof all)[number]): boolean =>
    !internal && !/^fe[89ab]/i.test(address);
  return all.filter(isReached).map(({ address }) => address);
}

/** Pure. @param own this machine's addresses */
export function hostsOfName(
  name: string,
  resolved: readonly string[],
  own: ReadonlySet<string>,
): NamedHosts {
  // A link-local address comes without the link that it's for.
  const here = resolved.filter(
    each => (own.has(each) || each.startsWith('127.')) && !/^fe[89ab]/i.test(each),
  );
  if (here.length > 0) return { hosts: [[...new Set([...here, ...loopback])]] };
  const doubt =
    `${name} resolves to ${resolved.join(', ')}, which is no address of this machine; ` +
    'workers wait until it leads here, so give localhost unless it does';
  return { hosts: everyHost, doubt };
}

async function resolve(
  name: string,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<readonly string[]> {
  onMachine("can't look up the master address", needPool);
  return new Promise((done, fail) => {
    const end = (why: string, cause?: unknown): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      fail(
        launchError(
          'ERR_PORT',
          [name, `${why}; give an address of this machine, or localhost`],
          cause,
        ),
      );
    };
    const timer = setTimeout(
      () => end(`the name service has not answered for ${timeoutMs / 1000} s`),
      timeoutMs,
    );
    const onAbort = (): void => end('given up');
    signal.addEventListener('abort', onAbort);
    addressesOf(name).then(
      addresses => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        done(addresses);
      },
      error => end(`the name can't be resolved here (${codeOf(error)})`, error),
    );
  });
}
