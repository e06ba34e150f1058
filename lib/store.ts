export { type ErrorCode, RegroupError } from './errors.js';
export { type ConnectOptions, connectStore } from './store/client.js';
export type { CallOptions, Store, StoreClient, StoreValue } from './store/store.js';
