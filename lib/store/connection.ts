import { connect, type Socket } from 'node:net';
import { byteQueue } from '../util/byte-queue.js';
import { deferred } from '../util/deferred.js';
import {
  type Dialect,
  encodeRequest,
  MalformedReply,
  type Reading,
  type Request,
  readRelease,
} from './wire.js';

/** Silence after which the kernel asks whether the server's machine is there. */
const keepAliveMs = 30_000;

/**
 * Bytes that the kernel hasn't taken, beyond which requests wait their turn. Enough for any network
 * to be busy; one request may exceed it.
 */
const mostUnsentBytes = 16 * 2 ** 20;

/** The connection is gone. `cause` is a MalformedReply, the socket's error, or nothing. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** The MalformedReply that the connection was lost by, if it was. */
export function malformed(error: unknown): MalformedReply | undefined {
  if (!(error instanceof ConnectionLost)) return undefined;
  return error.cause instanceof MalformedReply ? error.cause : undefined;
}

/** Whether the connection broke, and not by what the peer said. */
export function isLoss(error: unknown): boolean {
  return error instanceof ConnectionLost && malformed(error) === undefined;
}

/** A WAIT or BARRIER that the server hasn't answered yet. */
export interface Waiting {
  /** Rejects with ConnectionLost. After cancel() it settles once the stream is in step again. */
  readonly outcome: Promise<'released' | 'cancelled'>;
  /** Asks the server to forget it. Dialect A can't ask, so there the connection ends. Idempotent. */
  cancel(): void;
}

/**
 * One socket to a store, whose replies come in the order of the requests.
 *
 * Keeps Node alive only while a reply is due.
 */
export interface Connection {
  readonly dialect: Dialect;
  readonly isOpen: () => boolean;
  /**
   * Sends at once, whatever is still unanswered, or in turn if too much is unsent. Of several
   * requests only the last is one that's answered. Rejects with ConnectionLost.
   */
  request<T>(requests: readonly Request[], reading: Reading<T>, turn?: Turn): Promise<T>;
  /** Nothing else may be sent until it's settled: a server takes the next request as its end. */
  wait(request: Request): Waiting;
  /** Unanswered requests reject with ConnectionLost. Idempotent. */
  close(cause?: Error): void;
  /** Settles once the socket is closed, for whatever reason. Never rejects. */
  readonly closed: Promise<void>;
}

/** What a request does that waits its turn. */
export interface Turn {
  /** Takes it out of the queue; without effect once it's sent. */
  readonly signal: AbortSignal;
  onSent(): void;
}

/** An answer that's due from the server. */
interface Due {
  readonly requests: readonly Request[];
  readonly reading: Reading<unknown>;
  /** How many bytes `reading` asks for. */
  needs: number;
  readonly turn: Turn | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * Connects, without a hello.
 *
 * @param signal aborts the attempt; without effect afterwards
 * @throws ConnectionLost
 */
export async function openConnection(
  { host, port }: { readonly host: string; readonly port: number },
  dialect: Dialect,
  signal: AbortSignal,
): Promise<Connection> {
  // Both families are tried, which torch's client doesn't do if the first one fails late.
  const socket = connect({ host, port, noDelay: true, autoSelectFamily: true });
  // A wait has nothing on its way; it must notice that the server's machine is gone.
  socket.setKeepAlive(true, keepAliveMs);
  const connection = overSocket(socket, dialect);
  const abort = () => connection.close();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    await connection.connected;
    return connection;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function overSocket(socket: Socket, dialect: Dialect): Connection & { connected: Promise<void> } {
  const due: Due[] = []; // oldest first
  const held = new Set<Due>(); // not sent yet, oldest first
  let silent = false; // see needsSilence
  const input = byteQueue();
  const connected = deferred<void>();
  const closed = deferred<void>();
  let lost: ConnectionLost | undefined;
  let corked = false;

  socket.on('connect', () => {
    if (due.length === 0) socket.unref();
    connected.resolve();
  });
  socket.on('drain', sendHeld);
  socket.on('data', bytes => {
    input.push(bytes);
    readDue();
  });
  socket.on('end', () => end(new ConnectionLost('the server closed the connection')));
  socket.on('error', error => end(new ConnectionLost(error.message, { cause: error })));
  socket.on('close', () => {
    end(new ConnectionLost('the connection was closed'));
    closed.resolve();
  });

  function end(why: ConnectionLost): void {
    if (lost !== undefined) return;
    lost = why;
    socket.destroy();
    connected.reject(why);
    for (const each of [...due.splice(0), ...held]) each.reject(why);
    held.clear();
  }

  function readDue(): void {
    try {
      for (let first = due[0]; first !== undefined; first = due[0]) {
        const bytes = input.take(first.needs);
        if (bytes === undefined) return;
        const { done, value } = first.reading.next(bytes);
        if (done) settle(first, value);
        else first.needs = value;
      }
      if (input.length > 0) throw new MalformedReply('bytes that nobody asked for');
    } catch (error) {
      // Readings throw MalformedReply, and nothing else.
      end(new ConnectionLost((error as Error).message, { cause: error }));
    }
  }

  function settle(first: Due, value: unknown): void {
    due.shift();
    if (due.length === 0) socket.unref();
    first.resolve(value);
    if (!needsSilence(first)) return;
    silent = false;
    sendHeld();
  }

  /** Writes bytes; those of one turn leave in one segment. */
  function write(bytes: Uint8Array): void {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(() => {
        corked = false;
        socket.uncork();
      });
    }
    socket.write(bytes);
  }

  /** Whether nothing may follow a request: in dialect A our server can tell DELETE_KEY from APPEND only by the silence behind it. */
  function needsSilence({ requests }: Due): boolean {
    return dialect === 'A' && requests[0]?.op === 'deleteKey';
  }

  function mustWait(): boolean {
    return silent || socket.writableLength >= mostUnsentBytes;
  }

  function hold(each: Due): void {
    held.add(each);
    const signal = each.turn?.signal;
    const leave = () => {
      if (held.delete(each)) each.reject(signal?.reason);
    };
    if (signal?.aborted) leave();
    else signal?.addEventListener('abort', leave, { once: true });
  }

  function sendHeld(): void {
    for (const each of held) {
      if (mustWait()) return;
      held.delete(each);
      dispatch(each);
    }
  }

  function dispatch(each: Due): void {
    silent = needsSilence(each);
    each.turn?.onSent();
    // The first step of a reading only asks: every reply begins with a byte.
    each.needs = Number(each.reading.next().value);
    for (const request of each.requests) write(encodeRequest(dialect, request));
    if (due.length === 0) socket.ref();
    due.push(each);
  }

  function send<T>(requests: readonly Request[], reading: Reading<T>, turn?: Turn): Promise<T> {
    if (lost !== undefined) return Promise.reject(lost);
    const { promise, resolve, reject } = deferred<T>();
    // It's `reading` that returns what the promise is of.
    const each = { requests, reading, needs: 0, turn, resolve: resolve as Due['resolve'], reject };
    if (held.size > 0 || mustWait()) hold(each);
    else dispatch(each);
    return promise;
  }

  return {
    dialect,
    isOpen: () => lost === undefined,
    request: send,
    wait(request) {
      let cancelled = false;
      let settled = false;
      const outcome = send(
        [request],
        readRelease(() => cancelled),
      ).finally(() => {
        settled = true;
      });
      return {
        outcome,
        cancel() {
          if (cancelled || settled || lost !== undefined) return;
          cancelled = true;
          // The answer matters to nobody but the next user of this connection.
          socket.unref();
          if (dialect === 'A') end(new ConnectionLost('a wait was given up'));
          else write(encodeRequest(dialect, { op: 'cancelWait' }));
        },
      };
    },
    close: cause => end(new ConnectionLost('closed by us', { cause })),
    connected: connected.promise,
    closed: closed.promise,
  };
}
