import type { IncomingMessage } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { CoordinationError, type Revision } from '../coordination.js';
import { isEtcds, readAnswer, resultOf, strange } from './answer.js';
import type { Endpoint } from './endpoint.js';
import { readRefusal, refused } from './errors.js';
import { type Ask, Expired, isForAnother, type Session } from './session.js';
import { rangeOf, type WatchMessage } from './wire.js';

export interface StreamOptions {
  /** For messages: `watch of "a/"`. */
  readonly what: string;
  readonly prefix: string;
  readonly from: Revision;
  /** Silence after which the member is asked whether it's there. */
  readonly checkMs: number;
  /** Ends the stream, with any error. */
  readonly signal: AbortSignal;
}

/**
 * The messages of one stream from one member.
 *
 * A frozen member ends no stream, and etcd's own notifications come once in ten minutes: so one that's silent is
 * asked. Its own answer will do, without a majority's: a member that lost that ends its streams by itself, as we ask
 * for it by header. (To begin a stream anew would ask as well, but from a revision that may be compacted by then,
 * though nothing was missed.)
 *
 * @throws CoordinationError, unless the member ends it without a word
 */
export async function* streamMessages(
  session: Session,
  endpoint: Endpoint,
  { what, prefix, from, checkMs, signal }: StreamOptions,
): AsyncGenerator<WatchMessage> {
  const stream = new AbortController();
  const end = () => stream.abort();
  signal.addEventListener('abort', end, { once: true });
  let timer = setTimeout(() => stream.abort(new Expired()), session.timeoutMs);
  try {
    const response = await session.open(endpoint, request(what, prefix, from), stream.signal);
    for await (const message of messagesOf(response, `${what}: what is at ${endpoint.url}`)) {
      clearTimeout(timer);
      timer = setTimeout(check, checkMs);
      yield message;
    }
  } catch (error) {
    const reason: unknown = stream.signal.reason;
    if (reason instanceof Expired) {
      throw new CoordinationError(
        'TIMEOUT',
        `${what}: no answer from etcd at ${endpoint.url} within ${session.timeoutMs} ms`,
      );
    }
    throw reason instanceof CoordinationError ? reason : error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
    stream.abort();
  }

  function check(): void {
    session.askOf(endpoint, presence(what, prefix)).then(checkLater, (error: unknown) => {
      // Whatever it refuses, it's there.
      if (error instanceof CoordinationError && isForAnother(error)) stream.abort(error);
      else checkLater();
    });
  }

  function checkLater(): void {
    clearTimeout(timer);
    if (!stream.signal.aborted) timer = setTimeout(check, checkMs);
  }
}

function request(what: string, prefix: string, from: Revision): Ask {
  const create_request = {
    ...rangeOf(prefix),
    start_revision: String(from),
    progress_notify: true,
    // A thousand revisions of a megabyte each would be one line otherwise, longer than a text can be.
    fragment: true,
  };
  return { what, path: '/v3/watch', body: { create_request }, kind: 'read' };
}

function presence(what: string, prefix: string): Ask {
  const body = { ...rangeOf(prefix), serializable: true, count_only: true };
  return { what: `check on the ${what}`, path: '/v3/kv/range', body, kind: 'read' };
}

/** @throws CoordinationError */
async function* messagesOf(response: IncomingMessage, where: string): AsyncGenerator<WatchMessage> {
  const status = response.statusCode ?? 0;
  if (status !== 200) {
    const answer = readAnswer(where, { status, text: await textOf(response) }, false);
    throw 'refusal' in answer ? refused(where, answer.refusal, false) : broken(where);
  }
  for await (const line of linesOf(response, where)) {
    yield readMessage(line, where);
  }
}

function readMessage(line: string, where: string): WatchMessage {
  let body: unknown;
  try {
    body = JSON.parse(line);
  } catch {
    throw strange(where, { status: 200, text: line }, false);
  }
  const refusal = readRefusal(body);
  if (refusal !== undefined) throw refused(where, refusal, false);
  const message = resultOf(body);
  if (!isEtcds(message)) throw strange(where, { status: 200, text: line }, false);
  return message as WatchMessage; // it has etcd's header, on the path of its watches
}

async function* linesOf(response: IncomingMessage, where: string): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let begun: string[] = [];
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const [end = '', ...lines] = chunk.split('\n');
      begun.push(end);
      for (const line of lines) {
        yield begun.join('');
        begun = [line];
      }
    }
  } catch (error) {
    throw broken(`${where} broke it off: ${error instanceof Error ? error.message : error}`, error);
  }
  const rest = begun.join('');
  if (rest.startsWith('{') && !rest.endsWith('}')) throw broken(`${where} broke it off`);
  if (rest !== '') yield rest;
}

function broken(message: string, cause?: unknown): CoordinationError {
  return new CoordinationError('UNAVAILABLE', message, { cause });
}
