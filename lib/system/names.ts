/**
 * Asks the name service for the addresses of a name, in its order. A thread of Node's pool does, and may be kept for as long
 * as the service likes: `needPool` comes first.
 *
 * Rejects with the error of node:dns.
 */
export async function addressesOf(name: string): Promise<readonly string[]> {
  const { lookup } = await import('node:dns');
  return new Promise((resolve, reject) => {
    lookup(name, { all: true, order: 'verbatim' }, (error, found) => {
      if (error === null) resolve(found.map(({ address }) => address));
      else reject(error);
    });
  });
}
