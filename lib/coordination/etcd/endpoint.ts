import http, { type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { type Breakdown, readBreakdown } from './errors.js';

/** What files in PEM hold. */
export interface Tls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** One member's client URL. */
export interface Endpoint {
  /** For people and messages: without a user or password. */
  readonly url: string;
  /**
   * Sends one request.
   *
   * @returns the answer, whose body is still to come; destroying it ends the exchange
   * @throws NoAnswer
   */
  post(path: string, body: unknown, options: PostOptions): Promise<IncomingMessage>;
  /** Closes what is idle; what is under way ends by its signal. */
  close(): void;
}

export interface PostOptions {
  readonly token: string | undefined;
  /** Ends the exchange, the answer's body included, with the signal's reason. */
  readonly signal: AbortSignal;
}

/** The connection couldn't be made, or broke. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  readonly breakdown: Breakdown;
  /** It broke on a connection that had been idle: the member may have been restarted since. */
  readonly wasIdle: boolean;

  constructor(breakdown: Breakdown, wasIdle: boolean, cause: unknown) {
    super(breakdown.reason, { cause });
    this.breakdown = breakdown;
    this.wasIdle = wasIdle;
  }
}

/** How long a connection may be silent before the kernel asks whether the other machine is there. */
const keepAliveMs = 10_000;

/** By node:https and not by fetch: Node's takes a client's certificate only with the undici package. */
export function openEndpoint(url: URL, tls: Tls): Endpoint {
  const isTls = url.protocol === 'https:';
  const { request } = isTls ? https : http;
  const kept = { keepAlive: true, keepAliveMsecs: keepAliveMs };
  const agent = isTls ? new https.Agent({ ...kept, ...tls }) : new http.Agent(kept);
  const base = `${url.protocol}//${url.host}${url.pathname.replace(/\/$/, '')}`;

  return {
    url: base,
    post(path, body, { token, signal }) {
      const text = Buffer.from(JSON.stringify(body));
      const options: RequestOptions = {
        method: 'POST',
        agent,
        headers: {
          'content-type': 'application/json',
          'content-length': text.length,
          // Else a member that lost its cluster accepts watches and tells nothing (etcd issue 10819).
          'grpc-metadata-hasleader': 'true',
          ...(token !== undefined && { authorization: token }),
        },
      };
      return exchange(request(`${base}${path}`, options), text, isTls, signal);
    },
    close() {
      agent.destroy();
    },
  };
}

function exchange(
  request: http.ClientRequest,
  body: Buffer,
  isTls: boolean,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let isSent = false;
    const abort = () => request.destroy(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();

    request.once('close', () => signal.removeEventListener('abort', abort));
    request.once('socket', (socket: Socket) => {
      // It hears nothing of an idle one, and a watch is silent for hours.
      socket.setKeepAlive(true, keepAliveMs);
      if (isReady(socket)) isSent = true;
      else socket.once(isTls ? 'secureConnect' : 'connect', () => (isSent = true));
    });
    request.on('error', error => {
      const breakdown = readBreakdown(error, isTls);
      const isUndone = breakdown.isUndone || !isSent;
      reject(new NoAnswer({ ...breakdown, isUndone }, request.reusedSocket, error));
    });
    request.once('response', resolve);
    request.end(body);
  });
}

/** Whether what is written to it now is on its way. */
function isReady(socket: Socket): boolean {
  const isShakingHands = 'secureConnecting' in socket && socket.secureConnecting === true;
  return !socket.connecting && !isShakingHands;
}
