import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { boundConnections } from '../../system/connections.js';
import { addressOf } from '../../util/address.js';
import { codeOf } from '../../util/errno.js';

/** Connections at a time. */
const maxConnections = 64;
/** How long a client may take for its request. */
const requestMs = 5000;
/** How long it's connected at most. */
const connectionMs = 2 * requestMs;
/** The same text is told to all who ask within this time. Protects the agent's processor time. */
const freshMs = 250;

/** A server of one text, at `/metrics`. */
export interface MetricsServer {
  /** Settles when it serves: the URL, or why it doesn't. Never rejects. */
  readonly started: Promise<{ readonly url: string } | { readonly reason: string }>;
  /** Resolves when the port is free. */
  close(): Promise<void>;
}

export interface MetricsSource {
  readonly contentType: string;
  text(): Promise<string>;
}

export function serveMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  source: MetricsSource,
): MetricsServer {
  let fresh: { readonly text: Promise<string>; readonly untilMs: number } | undefined;

  function text(): Promise<string> {
    const now = performance.now();
    if (fresh === undefined || now > fresh.untilMs)
      fresh = { text: source.text(), untilMs: now + freshMs };
    return fresh.text;
  }

  const options = {
    headersTimeout: requestMs,
    requestTimeout: requestMs,
    connectionsCheckingInterval: requestMs,
    maxHeaderSize: 8192,
  };
  const server = createServer(options, (request, response) => {
    // What a body may have is of no interest.
    request.resume();
    response.setHeader('connection', 'close');
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    const [path] = (request.url ?? '').split('?');
    const isThere = path === '/metrics';
    if (!isRead || !isThere) {
      const [status, words] = isThere ? [405, 'only GET'] : [404, 'see /metrics'];
      response.writeHead(status, { 'content-type': 'text/plain' });
      response.end(`${words}\n`);
      return;
    }
    text().then(
      body => {
        response.writeHead(200, { 'content-type': source.contentType });
        response.end(request.method === 'HEAD' ? undefined : body);
      },
      error => {
        response.writeHead(500, { 'content-type': 'text/plain' });
        response.end(`${String(error)}\n`);
      },
    );
  });
  boundConnections(server, { most: maxConnections, ageMs: connectionMs });
  server.on('clientError', (_, socket) => socket.destroy());

  return {
    started: listen(server, host, port),
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, host: string, port: number): MetricsServer['started'] {
  return new Promise(resolve => {
    server.once('error', error => resolve({ reason: reasonOf(error) }));
    server.once('listening', () => {
      server.on('error', () => {}); // EMFILE and its like: it serves again when there's room
      const { address, port } = server.address() as AddressInfo; // it listens for TCP
      resolve({ url: `http://${addressOf(address, port)}/metrics` });
    });
    server.listen({ host, port });
    server.unref();
  });
}

function reasonOf(error: Error): string {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return 'the port is in use';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address';
    case 'EACCES':
      return 'it may not be opened by this user';
    default:
      return error.message;
  }
}
