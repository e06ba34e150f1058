import type { Endpoint } from './endpoint.js';

/** The user's token, which etcd gives for a password and forgets when it isn't used, or restarts. */
export interface Tokens {
  /**
   * The token, which is asked for of this member if there's none; undefined if requests need none.
   *
   * @throws as `signIn`
   */
  get(endpoint: Endpoint): Promise<string | undefined>;
  /** This one is refused, or whichever is known. */
  forget(token?: string): void;
}

export function createTokens<User>(
  user: User | undefined,
  signIn: (endpoint: Endpoint, user: User) => Promise<string | undefined>,
): Tokens {
  let known: { readonly token: string | undefined } | undefined;
  // etcd takes a tenth of a second of its own time to check a password: one check is enough for all who wait.
  const signingIn = new Map<Endpoint, Promise<string | undefined>>();

  return {
    get(endpoint) {
      if (user === undefined) return Promise.resolve(undefined);
      if (known !== undefined) return Promise.resolve(known.token);
      const running = signingIn.get(endpoint) ?? begin(endpoint, user);
      signingIn.set(endpoint, running);
      return running;
    },
    forget(token) {
      // Another may have come since.
      if (token === undefined || token === known?.token) known = undefined;
    },
  };

  async function begin(endpoint: Endpoint, as: User): Promise<string | undefined> {
    try {
      const token = await signIn(endpoint, as);
      known = { token };
      return token;
    } finally {
      signingIn.delete(endpoint);
    }
  }
}
