import type { ConnectOptions } from './client.js';
import type { StoreClient } from './store.js';

/**
 * Connects to a TCPStore, as `connectStore` of `regroup/store` does. The client and `node:net` are
 * loaded by the first call: most who launch workers never make one.
 */
export async function connectStore(options: ConnectOptions): Promise<StoreClient> {
  const client = await import('./client.js');
  return client.connectStore(options);
}
