/** A store's shared memory, as somebody else's server gives it. */
export interface NativeSharedStore {
  /** Undefined: there's no such key; null: only the server can tell. */
  get(key: string): Buffer | undefined | null;
  notice(): number;
  close(): void;
}
