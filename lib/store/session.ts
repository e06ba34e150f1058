import type { Call } from './call.js';
import { type Connection, ConnectionLost, isLoss } from './connection.js';
import { dial, type Hello, type StoreAddress } from './dial.js';
import type { Dialect, Reading, Request } from './wire.js';

/** How often a request may be sent that changes nothing; the server may hang up because of it. */
const mostSends = 3;

/** Connections beside the first one that are kept for the next wait. */
const mostIdle = 4;

/** `repeatable`: whether it may be sent again if the connection breaks before its answer. */
export interface Exchange {
  readonly repeatable: boolean;
  /** How often at most. @default 3 */
  readonly sends?: number;
}

/**
 * The connections of one client: the first one for all that's answered at once, pipelined, and one
 * for each wait, since a server takes a request behind a wait as its end. What broke is dialled again
 * when the next call needs it.
 */
export interface Session {
  /** Known once the first connection is open. */
  readonly dialect: () => Dialect;
  /** Whether the server knows PING, as far as that's known. */
  readonly knowsPing: () => boolean;
  open(call: Call): Promise<void>;
  /** Sends requests and reads the answer, which only the last of several has. Throws ConnectionLost. */
  exchange<T>(
    call: Call,
    requests: readonly Request[],
    reading: () => Reading<T>,
    how: Exchange,
  ): Promise<T>;
  /**
   * Sends a WAIT or BARRIER. Throws ConnectionLost.
   *
   * @param how.reusable false if the connection mustn't see another wait
   */
  wait(call: Call, request: Request, how: Exchange & { readonly reusable: boolean }): Promise<void>;
  /** Settles when every socket is closed. */
  close(): Promise<void>;
}

/** Dialling that lasts until somebody has an open connection, or nobody wants one any more. */
interface Dialing {
  readonly connection: Promise<Connection>;
  readonly controller: AbortController;
  users: number;
}

export function createSession(address: StoreAddress, firstHello: Hello): Session {
  const connections = new Set<Connection>();
  const idle: Connection[] = [];
  let hello = firstHello;
  let current: Connection | undefined;
  let dialing: Dialing | undefined;
  let trouble: string | undefined; // since the last success
  let isClosed = false;

  async function connect(signal: AbortSignal): Promise<Connection> {
    const dialled = await dial(address, hello, signal, error => {
      trouble = error.message;
    });
    const { connection } = dialled;
    trouble = undefined;
    hello = dialled.hello;
    connections.add(connection);
    void connection.closed.then(() => connections.delete(connection)); // never rejects
    if (isClosed) connection.close();
    return connection;
  }

  function startDialing(): Dialing {
    const controller = new AbortController();
    const connection = connect(controller.signal);
    const started = { connection, controller, users: 0 };
    connection.then(
      opened => {
        current = opened;
        if (dialing === started) dialing = undefined;
      },
      () => {
        // Its users hear of it.
        if (dialing === started) dialing = undefined;
      },
    );
    return started;
  }

  async function first(call: Call): Promise<Connection> {
    if (current?.isOpen()) return current;

    dialing ??= startDialing();
    const mine = dialing;
    mine.users++;
    try {
      return await reached(call, mine.connection);
    } finally {
      mine.users--;
      if (mine.users === 0 && dialing === mine) {
        dialing = undefined;
        mine.controller.abort();
      }
    }
  }

  async function ownForWait(call: Call): Promise<Connection> {
    for (let kept = idle.pop(); kept !== undefined; kept = idle.pop()) {
      if (kept.isOpen()) return kept;
    }
    return reached(call, connect(call.signal));
  }

  /** A call that ends before there's a connection can tell why there was none. */
  async function reached(call: Call, connection: Promise<Connection>): Promise<Connection> {
    try {
      return await call.race(connection);
    } catch (error) {
      const isFirst = current === undefined;
      call.unreachable = trouble ?? (isFirst ? 'it accepts and says nothing' : undefined);
      throw error;
    }
  }

  /** Whether what was lost may be sent again; throws if not. */
  function checkLoss(error: unknown, how: Exchange, sends: number): void {
    if (!isLoss(error) || !how.repeatable || sends >= (how.sends ?? mostSends)) throw error;
  }

  function giveBack(connection: Connection, reusable: boolean): void {
    if (reusable && !isClosed && idle.length < mostIdle) idle.push(connection);
    else connection.close();
  }

  return {
    dialect() {
      if (hello.dialect === 'auto') throw new Error('no connection yet'); // connectStore() opens one
      return hello.dialect;
    },
    knowsPing: () => hello.dialect === 'D' && hello.ping,

    async open(call) {
      await first(call);
    },

    async exchange(call, requests, reading, how) {
      for (let sends = 1; ; sends++) {
        const connection = await first(call);
        // It may have broken since; so far nothing was sent.
        if (!connection.isOpen()) continue;
        let isSent = false;
        const onSent = () => {
          isSent = true;
          call.atRisk = !how.repeatable;
        };
        const turn = { signal: call.signal, onSent };
        try {
          const reply = await call.race(connection.request(requests, reading(), turn));
          call.atRisk = false;
          return reply;
        } catch (error) {
          if (isSent || !isLoss(error)) checkLoss(error, how, sends);
          else sends--; // the next connection takes it
        }
      }
    },

    async wait(call, request, how) {
      for (let sends = 1; ; sends++) {
        const connection = await ownForWait(call);
        if (!connection.isOpen()) continue;
        const waiting = connection.wait(request);
        const over = waiting.outcome.then(() => giveBack(connection, how.reusable));
        try {
          await call.race(over);
          return;
        } catch (error) {
          // A deadline leaves no doubt: nobody was released by it.
          call.atRisk = error instanceof ConnectionLost && !how.repeatable;
          // Without effect if it was the connection that broke.
          waiting.cancel();
          checkLoss(error, how, sends);
        }
      }
    },

    async close() {
      isClosed = true;
      dialing?.controller.abort();
      const closing = [...connections].map(connection => {
        connection.close();
        return connection.closed;
      });
      await Promise.all(closing);
    },
  };
}
