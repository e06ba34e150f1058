import { shown } from '../../util/shown.js';
import { CoordinationError } from '../coordination.js';
import { type Refusal, readRefusal } from './errors.js';

/** What a member's HTTP server gave. */
export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

/**
 * An answer's message, or etcd's refusal.
 *
 * @param where for messages: `put of "a": etcd at https://host:2379`
 * @throws PROTOCOL; UNAVAILABLE where a proxy answers in place of a member
 */
export function readAnswer<T>(
  where: string,
  { status, text }: HttpAnswer,
  isChange: boolean,
): { readonly value: T } | { readonly refusal: Refusal } {
  const body = parse(text);
  const refusal = readRefusal(body);
  if (refusal !== undefined) return { refusal };

  const message = resultOf(body) ?? body;
  // All of etcd's answers have a header; the caller names the type that this path answers with.
  if (status === 200 && isEtcds(message)) return { value: message as T };
  throw strange(where, { status, text }, isChange);
}

/** The message in a stream's line: `{"result": message}`. */
export function resultOf(line: unknown): unknown {
  return typeof line === 'object' && line !== null && 'result' in line ? line.result : undefined;
}

export function isEtcds(message: unknown): boolean {
  if (typeof message !== 'object' || message === null || !('header' in message)) return false;
  return typeof message.header === 'object' && message.header !== null;
}

/** Of somebody who isn't etcd, or not one that we can talk with. */
export function strange(where: string, answer: HttpAnswer, isChange: boolean): CoordinationError {
  const { status, text } = answer;
  const isProxys = status === 502 || status === 503 || status === 504;
  return new CoordinationError(
    isProxys ? 'UNAVAILABLE' : 'PROTOCOL',
    `${where} answered with HTTP status ${status} and ${shown(text.trim())}; ${adviceFor(answer)}`,
    { isUncertain: isChange && status !== 404 },
  );
}

function adviceFor({ status, text }: HttpAnswer): string {
  if (/HTTPS server/i.test(text)) return 'it wants TLS: write https:// instead of http://';
  if (status === 502 || status === 503 || status === 504) {
    return 'a proxy in front of it says that it is away';
  }
  if (status === 404) {
    return 'it has no JSON gateway of etcd 3.4 or newer: check its address, and --enable-grpc-gateway';
  }
  return "that isn't an answer of etcd's: check its address";
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // somebody else's words, which the caller shows
  }
}
