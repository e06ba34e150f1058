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
  maxAnswerBytes,
  maxGreetingBytes,
  preface,
  strangerOf,
} from './frames.js';
import { createGreeting, type Welcome } from './greeting.js';

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
  /**
   * Trying again is in vain: what answered is no server of ours, or one of another version; or one side has another token
   * of the job, or none.
   */
  readonly hopeless: 'stranger' | 'version' | 'token' | undefined;

  constructor(
    message: string,
    options: { readonly cause?: unknown; readonly hopeless?: LinkEnded['hopeless'] },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.hopeless = options.hopeless;
  }
}

export interface LinkTo {
  readonly host: string;
  readonly port: number;
  /** The job's, which both sides prove to have. @default neither does */
  readonly token?: string | undefined;
}

const helloId = 0;

/**
 * Connects, greets, and has both sides prove what they have to.
 *
 * @param timeoutMs for all together
 * @throws LinkEnded
 */
export function openLink(
  { host, port, token }: LinkTo,
  timeoutMs: number,
  signal: AbortSignal,
  listener: LinkListener,
): Promise<Link> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, autoSelectFamily: true });
    const input = byteQueue();
    const greeting = createGreeting(token);
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
        end(
          new LinkEnded(`it answers with ${error.message}`, { cause: error, hopeless: 'stranger' }),
        );
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
        frame = bytesAfter(length, link === undefined ? maxGreetingBytes : maxAnswerBytes);
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
      const next = greeting.hear(answer);
      if (next.do === 'send') socket.write(encodeFrame(helloId, next.request));
      else if (next.do === 'end') end(new LinkEnded(next.why, { hopeless: next.because }));
      else open(next.welcome);
    }

    function open(welcome: Welcome): void {
      clearTimeout(timer);
      const remote = unmapped(socket.remoteAddress ?? '');
      link = {
        incarnation: welcome.incarnation,
        isDirect: welcome.address === addressOf(remote, port),
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
