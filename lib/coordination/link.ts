import { connect } from 'node:net';
import { addressOf, unmapped } from '../util/address.js';
import { type ByteQueue, byteQueue } from '../util/byte-queue.js';
import { codeOf } from '../util/errno.js';
import {
  bytesAfter,
  decodeFrame,
  encodeFrame,
  type FrameAnswer,
  type FrameRequest,
  lengthBytes,
  MalformedFrame,
  preface,
  strangerOf,
  version,
} from './frames.js';

/** One connection to our server, from its greeting to its end. */
export interface Link {
  /** Tells this server from the one before it at the same address. */
  readonly incarnation: string;
  /** The server has the address that it's reached at: nothing between leads to several of them. */
  readonly isDirect: boolean;
  /** Numeric addresses of this end and of the server's. */
  readonly local: string;
  readonly remote: string;
  /** Gives it up, as if it had broken: whoever answers nothing may be gone without a word. */
  drop(): void;
  /** Nothing happens where the link has ended. */
  send(id: number, request: FrameRequest): void;
  /** Ends it. `ended` isn't called. */
  close(): void;
}

export interface LinkListener {
  answered(id: number, answer: FrameAnswer): void;
  ended(why: LinkEnded): void;
}

/** Why there's no link, or none any more. */
export class LinkEnded extends Error {
  override readonly name = 'LinkEnded';
  /** What answered isn't our server, or is one of another version: trying again is in vain. */
  readonly isForeign: boolean;

  constructor(
    message: string,
    options: { readonly cause?: unknown; readonly isForeign?: boolean },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.isForeign = options.isForeign ?? false;
  }
}

const helloId = 0;

/**
 * Connects and greets.
 *
 * @param timeoutMs for both together
 * @throws LinkEnded
 */
export function openLink(
  { host, port }: { readonly host: string; readonly port: number },
  timeoutMs: number,
  signal: AbortSignal,
  listener: LinkListener,
): Promise<Link> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, autoSelectFamily: true });
    const input = byteQueue();
    let frame: number | undefined; // bytes of the one that is coming
    let link: Link | undefined;
    let isOver = false;

    const timer = setTimeout(() => end(new LinkEnded('it does not answer', {})), timeoutMs);
    signal.addEventListener('abort', close, { once: true });
    if (signal.aborted) close();

    socket.on('connect', () => {
      socket.write(Buffer.concat([preface, encodeFrame(helloId, { ask: 'hello' })]));
    });
    socket.on('data', bytes => {
      input.push(bytes);
      try {
        while (!isOver && hear(input));
      } catch (error) {
        if (!(error instanceof MalformedFrame)) throw error;
        end(new LinkEnded(`it answers with ${error.message}`, { cause: error, isForeign: true }));
      }
    });
    socket.on('error', error => {
      end(new LinkEnded(codeOf(error) ?? error.message, { cause: error }));
    });
    socket.on('close', () => end(new LinkEnded('it closed the connection', {})));

    /** @returns whether there was a whole frame */
    function hear(from: ByteQueue): boolean {
      if (frame === undefined) {
        const length = from.take(lengthBytes);
        if (length === undefined) return false;
        const stranger = link === undefined ? strangerOf(length) : undefined;
        if (stranger !== undefined) throw new MalformedFrame(stranger);
        frame = bytesAfter(length);
      }
      const bytes = from.take(frame);
      if (bytes === undefined) return false;
      frame = undefined;
      const { id, answer } = decodeFrame(bytes);
      if (link !== undefined) listener.answered(id, answer);
      else greet(answer);
      return true;
    }

    function greet(answer: FrameAnswer): void {
      if (answer.type !== 'welcome') throw new MalformedFrame('something else than a welcome');
      if (answer.version !== version) {
        const theirs = `it speaks version ${answer.version} of the protocol, and we ${version}`;
        end(new LinkEnded(theirs, { isForeign: true }));
        return;
      }
      clearTimeout(timer);
      const remote = unmapped(socket.remoteAddress ?? '');
      link = {
        incarnation: answer.incarnation,
        isDirect: answer.address === addressOf(remote, port),
        local: socket.localAddress ?? host,
        remote: socket.remoteAddress ?? host,
        drop: () => end(new LinkEnded('it does not answer', {})),
        send(id, request) {
          if (!isOver) socket.write(encodeFrame(id, request));
        },
        close,
      };
      resolve(link);
    }

    function end(why: LinkEnded): void {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', close);
      socket.destroy();
      if (link === undefined) reject(why);
      else listener.ended(why);
    }

    function close(): void {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', close);
      if (link === undefined) {
        socket.destroy();
      } else {
        // Not destroyed: the server would lose the goodbye where it hasn't read all yet.
        socket.end(encodeFrame(helloId, { ask: 'goodbye' }));
        socket.unref();
      }
      reject(new LinkEnded('it was closed', {}));
    }
  });
}
