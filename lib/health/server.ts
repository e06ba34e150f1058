import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { boundConnections } from '../system/connections.js';
import { codeOf } from '../util/errno.js';

/**
 * Answers by HTTP whether the agent is alive, and whether its workers run. It knows nothing that a stranger mustn't, and a
 * stranger costs no more than some sockets.
 */
export interface HealthServer {
  readonly port: number;
  close(): void;
}

/** What's asked, and what's answered: undefined is yes, a text why not. */
export interface Health {
  /** Why the agent's loops don't turn; whoever asks sees by the answer itself that the event loop does. */
  whyNotAlive(): string | undefined;
  whyNotReady(): string | undefined;
}

/** Of those that are connected at a time; one more takes the place of the one that came first, so that nobody keeps others out. */
const maxConnections = 64;
/** From the connection to the end of its request, which has no body. */
const requestMs = 5000;
const maxHeaderBytes = 8 * 1024;

/**
 * Serves at a port of every address.
 *
 * @param port 0: a free one
 * @throws with a text for people: the port is in use, or can't be had
 */
export function serveHealth(port: number, health: Health): Promise<HealthServer> {
  const limits = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: requestMs,
    requestTimeout: requestMs,
    connectionsCheckingInterval: requestMs / 5,
    keepAlive: false,
  };
  const server = createServer(limits, (request, response) => answer(request, response, health));
  // Whoever reads no answer, and says nothing, has had their time.
  const sockets = boundConnections(server, { most: maxConnections, ageMs: 2 * requestMs });
  server.on('clientError', (_, socket) => socket.destroy());
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', error => reject(new Error(describe(port, codeOf(error)))));
    server.listen(port, () => {
      // A descriptor may be lacking for somebody who connects; others go on.
      server.on('error', () => {});
      resolve({
        port: (server.address() as AddressInfo).port, // of a server at a port that listens
        close() {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
      });
    });
  });
}

function describe(port: number, code: string | undefined): string {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} is in use`;
    case 'EACCES':
      return `port ${port} is for root alone`;
    default:
      return `port ${port} can't be served: ${code}`;
  }
}

/** Paths and what each asks; of Kubernetes' probes, and `/` for whoever knows torchrun's. */
const questions: Readonly<Record<string, (health: Health) => string | undefined>> = {
  '/': ({ whyNotAlive }) => whyNotAlive(),
  '/healthz': ({ whyNotAlive }) => whyNotAlive(),
  '/livez': ({ whyNotAlive }) => whyNotAlive(),
  '/readyz': ({ whyNotAlive, whyNotReady }) => whyNotAlive() ?? whyNotReady(),
};

function answer(request: IncomingMessage, response: ServerResponse, health: Health): void {
  const { method = '', url = '' } = request;
  const [path = ''] = url.split('?', 1);
  const question = Object.hasOwn(questions, path) ? questions[path] : undefined;
  const say = (status: number, text: string): void => {
    const headers = { 'Content-Type': 'text/plain', 'Cache-Control': 'no-store' };
    response.writeHead(status, { ...headers, Connection: 'close' }).end(`${text}\n`);
  };
  if (method !== 'GET' && method !== 'HEAD') {
    say(405, 'GET or HEAD');
  } else if (question === undefined) {
    say(404, `one of ${Object.keys(questions).join(' ')}`);
  } else {
    const why = question(health);
    say(why === undefined ? 200 : 503, why ?? 'ok');
  }
}
