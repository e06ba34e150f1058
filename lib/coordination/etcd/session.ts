import type { IncomingMessage } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { shown } from '../../util/shown.js';
import { CoordinationError } from '../coordination.js';
import { readAnswer } from './answer.js';
import { type Endpoint, NoAnswer } from './endpoint.js';
import { isStaleToken, isWithoutUsers, noneAnswered, type Refusal, refused } from './errors.js';
import { createTokens } from './tokens.js';
import type { Answer } from './wire.js';

/** One question to etcd. */
export interface Ask {
  /** For messages: `put of "a"`. */
  readonly what: string;
  readonly path: string;
  readonly body: unknown;
  /** Whether it asks for a change, and whether asking twice is as good as once. */
  readonly kind: 'read' | 'change' | 'repeatable change';
  /** For one member's answer. @default the session's */
  readonly timeoutMs?: number;
}

/** What is common to all that we ask of the members: tokens, time-outs, fail-over. */
export interface Session {
  readonly timeoutMs: number;
  /**
   * Asks the members in turn, from the one that did well last, each once.
   *
   * @throws CoordinationError; a change that may have been made isn't asked for again
   */
  ask<T extends Answer>(ask: Ask): Promise<T>;
  /** Asks this member only. */
  askOf<T extends Answer>(endpoint: Endpoint, ask: Ask): Promise<T>;
  /**
   * Opens a stream at this member, which may refuse the token in it.
   *
   * @param signal ends it
   */
  open(endpoint: Endpoint, ask: Ask, signal: AbortSignal): Promise<IncomingMessage>;
  /** Has the next request sign in anew. @returns false if there's no user */
  forgetToken(): boolean;
  /** The one that did well last, or the one after that if it has failed since. */
  preferred(): Endpoint;
  /** This one failed; others are asked before it. */
  avoid(endpoint: Endpoint): void;
  readonly memberCount: number;
  close(): void;
  /** @throws CLOSED */
  throwIfClosed(what: string): void;
}

export interface User {
  readonly name: string;
  readonly password: string;
}

/** Why a signal ends what took too long. */
export class Expired extends Error {}
class Closed extends Error {}

export function openSession(
  endpoints: readonly [Endpoint, ...Endpoint[]],
  user: User | undefined,
  timeoutMs: number,
): Session {
  const running = new Set<AbortController>();
  const tokens = createTokens(user, signIn);
  let first = 0; // of the endpoints, the preferred
  let isClosed = false;

  return {
    timeoutMs,
    ask,
    askOf,
    open,
    forgetToken() {
      tokens.forget();
      return user !== undefined;
    },
    preferred: () => endpoints[first] ?? endpoints[0],
    avoid,
    memberCount: endpoints.length,
    close() {
      isClosed = true;
      for (const controller of running) controller.abort(new Closed());
      for (const endpoint of endpoints) endpoint.close();
    },
    throwIfClosed,
  };

  function throwIfClosed(what: string): void {
    if (isClosed) throw closed(what, false);
  }

  function avoid(endpoint: Endpoint): void {
    if (endpoints[first] === endpoint) first = (first + 1) % endpoints.length;
  }

  async function ask<T extends Answer>(request: Ask): Promise<T> {
    const inTurn = [...endpoints.slice(first), ...endpoints.slice(0, first)];
    const errors: CoordinationError[] = [];
    for (const endpoint of inTurn) {
      try {
        return await askOf<T>(endpoint, request);
      } catch (error) {
        if (!(error instanceof CoordinationError) || !isForAnother(error)) throw error;
        avoid(endpoint);
        if (error.isUncertain && request.kind === 'change') throw error;
        errors.push(error);
      }
    }
    throw noneAnswered(request.what, errors);
  }

  async function askOf<T extends Answer>(endpoint: Endpoint, request: Ask): Promise<T> {
    for (;;) {
      throwIfClosed(request.what);
      try {
        return await withToken<T>(endpoint, request);
      } catch (error) {
        // It was closed while idle, by a restart most likely: that tells nothing of the member as it is now.
        const isStale = error instanceof CoordinationError && brokeWhenIdle(error);
        if (!isStale || (error.isUncertain && request.kind === 'change')) throw error;
      }
    }
  }

  async function withToken<T extends Answer>(endpoint: Endpoint, request: Ask): Promise<T> {
    const token = await tokens.get(endpoint);
    const answer = await exchange<T>(endpoint, request, token);
    if (!('refusal' in answer)) return answer.value;

    if (token === undefined || !isStaleToken(answer.refusal)) {
      throw refusedBy(endpoint, request, answer.refusal);
    }
    tokens.forget(token);
    const again = await exchange<T>(endpoint, request, await tokens.get(endpoint));
    if ('refusal' in again) throw refusedBy(endpoint, request, again.refusal);
    return again.value;
  }

  async function exchange<T extends Answer>(
    endpoint: Endpoint,
    request: Ask,
    token: string | undefined,
  ): Promise<{ readonly value: T } | { readonly refusal: Refusal }> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Expired()), limitOf(request));
    running.add(controller);
    try {
      throwIfClosed(request.what);
      const { signal } = controller;
      const response = await endpoint.post(request.path, request.body, { token, signal });
      const answer = { status: response.statusCode ?? 0, text: await textOf(response) };
      const where = `${request.what}: what is at ${endpoint.url}`;
      return readAnswer<T>(where, answer, request.kind !== 'read');
    } catch (error) {
      throw explain(error, endpoint, request, controller.signal);
    } finally {
      clearTimeout(timer);
      running.delete(controller);
    }
  }

  async function open(
    endpoint: Endpoint,
    request: Ask,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    throwIfClosed(request.what);
    const token = await tokens.get(endpoint);
    try {
      return await endpoint.post(request.path, request.body, { token, signal });
    } catch (error) {
      throw explain(error, endpoint, request, signal);
    }
  }

  async function signIn(endpoint: Endpoint, { name, password }: User): Promise<string | undefined> {
    const request = {
      what: `sign-in of user ${shown(name)}`,
      path: '/v3/auth/authenticate',
      body: { name, password },
      kind: 'read',
    } as const;
    const answer = await exchange<Answer & { token?: string }>(endpoint, request, undefined);
    if (!('refusal' in answer)) return answer.value.token;
    if (isWithoutUsers(answer.refusal)) return undefined;
    throw refusedBy(endpoint, request, answer.refusal);
  }

  function limitOf(request: Ask): number {
    return request.timeoutMs ?? timeoutMs;
  }

  function explain(error: unknown, endpoint: Endpoint, request: Ask, signal: AbortSignal): unknown {
    if (error instanceof CoordinationError) return error;
    const isUndone = error instanceof NoAnswer && error.breakdown.isUndone;
    const isUncertain = request.kind !== 'read' && !isUndone;
    if (signal.reason instanceof Closed) return closed(request.what, isUncertain);
    const { code, message } =
      signal.reason instanceof Expired
        ? ({ code: 'TIMEOUT', message: `no answer within ${limitOf(request)} ms` } as const)
        : reasonOf(error);
    return new CoordinationError(
      code,
      `${request.what}: no answer from etcd at ${endpoint.url}: ${message}`,
      { cause: error, isUncertain },
    );
  }
}

function reasonOf(error: unknown): { code: CoordinationError['code']; message: string } {
  if (error instanceof NoAnswer) return { code: error.breakdown.code, message: error.message };
  // The answer broke off.
  return { code: 'UNAVAILABLE', message: error instanceof Error ? error.message : String(error) };
}

function closed(what: string, isUncertain: boolean): CoordinationError {
  return new CoordinationError('CLOSED', `${what}: the connection to etcd was closed`, {
    isUncertain,
  });
}

function refusedBy(endpoint: Endpoint, { what, kind }: Ask, refusal: Refusal): CoordinationError {
  return refused(`${what} at ${endpoint.url}`, refusal, kind !== 'read');
}

/** Whether this member, rather than what was asked, is to blame. */
export function isForAnother({ code, cause }: CoordinationError): boolean {
  return cause instanceof NoAnswer || ['UNAVAILABLE', 'TIMEOUT', 'PROTOCOL'].includes(code);
}

function brokeWhenIdle({ code, cause }: CoordinationError): boolean {
  return code === 'UNAVAILABLE' && cause instanceof NoAnswer && cause.wasIdle;
}
