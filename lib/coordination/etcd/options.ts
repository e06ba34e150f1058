import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { shown } from '../../util/shown.js';
import { CoordinationError } from '../coordination.js';
import { type Endpoint, openEndpoint, type Tls } from './endpoint.js';

export interface EtcdOptions {
  /** Client URLs of its members, `http://host:2379` or `https://…`: of some, or of all, for fail-over. */
  readonly endpoints: readonly string[];
  /** A file of the authorities that its certificates are signed by. @default those that Node knows */
  readonly ca?: string | undefined;
  /** Files of our own certificate and its key, in PEM. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly user?: { readonly name: string; readonly password: string } | undefined;
  /** For one member's answer; the members are asked in turn. @default 5_000 */
  readonly timeoutMs?: number | undefined;
  /**
   * The same for the renewal of a lease, which doesn't take a member long. Short ones leave the time to ask the others
   * before the lease has ended. @default timeoutMs
   */
  readonly renewTimeoutMs?: number | undefined;
  /** Silence of a watch after which its member is asked whether it's there. @default 5_000 */
  readonly watchCheckMs?: number | undefined;
}

/** @throws INVALID */
export async function openEndpoints(
  options: EtcdOptions,
): Promise<readonly [Endpoint, ...Endpoint[]]> {
  const [first, ...others] = options.endpoints.map(checkUrl);
  if (first === undefined) throw invalid('endpoints: give at least one, as http://host:2379');

  const tls = await readTls(options);
  return [openEndpoint(first, tls), ...others.map(url => openEndpoint(url, tls))];
}

function checkUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw invalid(`endpoints: ${shown(text)} isn't like http://host:2379 or https://host:2379`);
  }
  // Not shown: it's a secret.
  if (url.username !== '' || url.password !== '') {
    throw invalid(`endpoints: ${url.host} has a user or password in it; give them as user`);
  }
  return url;
}

async function readTls({ ca, cert, key }: EtcdOptions): Promise<Tls> {
  if ((cert === undefined) !== (key === undefined)) {
    throw invalid('cert and key go together: give both, or neither');
  }
  const tls = {
    ...(ca !== undefined && { ca: await read('ca', ca) }),
    ...(cert !== undefined && { cert: await read('cert', cert) }),
    ...(key !== undefined && { key: await read('key', key) }),
  };
  try {
    createSecureContext(tls);
  } catch (error) {
    const files = [ca, cert, key].filter(file => file !== undefined).join(', ');
    throw invalid(`TLS can't use ${files}: ${reasonOf(error)}; they must be PEM`, error);
  }
  return tls;
}

async function read(option: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw invalid(`${option}: ${reasonOf(error)}`, error);
  }
}

function invalid(message: string, cause?: unknown): CoordinationError {
  return new CoordinationError('INVALID', message, { cause });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
