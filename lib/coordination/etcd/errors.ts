import { type CoordinationCode, CoordinationError } from '../coordination.js';

/** What etcd answered in place of a result: gRPC's code, and a sentence of its own. */
export interface Refusal {
  readonly code: number;
  readonly message: string;
}

/**
 * The refusal that a body or a message of a stream is, if it's one.
 *
 * @source etcd 3.4.23: `{"error": text, "message": text, "code": n}`, in streams `{"error": {"grpc_code": n, …}}`;
 *   etcd 3.6.0, grpc-gateway v2: `{"code": n, "message": text}`, in streams `{"error": {"code": n, …}}`
 */
export function readRefusal(body: unknown): Refusal | undefined {
  if (!isRecord(body)) return undefined;
  const inner = isRecord(body.error) ? body.error : body;
  const code = inner.grpc_code ?? inner.code;
  const message = inner.message ?? inner.error;
  if (typeof code !== 'number' || typeof message !== 'string') return undefined;
  return { code, message };
}

/** The token isn't known, or is older than the last change of users and roles: a new one helps. */
export function isStaleToken({ message }: Refusal): boolean {
  return /invalid auth token|revision of auth store is old/.test(message);
}

/** etcd has no users: it takes requests of anybody. */
export function isWithoutUsers({ message }: Refusal): boolean {
  return message.includes('authentication is not enabled');
}

/**
 * A refusal as this interface says it.
 *
 * @param what for the message: `put of "a" at https://host:2379`
 * @param isChange whether it asked for a change
 */
export function refused(what: string, refusal: Refusal, isChange: boolean): CoordinationError {
  const { code, advice, isUndone } = explain(refusal);
  return new CoordinationError(code, `etcd refused the ${what}: ${refusal.message}${advice}`, {
    isUncertain: isChange && !isUndone,
  });
}

interface Explanation {
  readonly code: CoordinationCode;
  /** What to do about it; with its semicolon, or empty. */
  readonly advice: string;
  /** The change was surely not made. */
  readonly isUndone: boolean;
}

/** @source etcd 3.4.23, etcdserver/api/v3rpc/rpctypes/error.go */
function explain({ code, message }: Refusal): Explanation {
  const known = texts.find(([pattern]) => pattern.test(message));
  if (known !== undefined) return { code: known[1], advice: known[2] ?? '', isUndone: true };

  const isUndone = surelyUndone.has(code);
  return { code: byGrpcCode[code] ?? 'UNAVAILABLE', advice: '', isUndone };
}

const texts: readonly (readonly [RegExp, CoordinationCode, string?])[] = [
  [/requested lease not found/, 'LEASE_LOST'],
  [/has been compacted/, 'COMPACTED'],
  [
    /database space exceeded/,
    'FULL',
    '; compact and defragment it, then `etcdctl alarm disarm`, or raise --quota-backend-bytes',
  ],
  [/permission denied/, 'DENIED', '; grant the user a role that may read and write there'],
  [/user name is empty/, 'DENIED', '; give a user and a password'],
  [/invalid user ID or password|user name not found/, 'DENIED', '; check the user and password'],
  [/invalid auth token|revision of auth store is old/, 'DENIED'],
  // These are answered before anything is proposed to the cluster.
  [/no leader/, 'UNAVAILABLE', '; a majority of its members is needed'],
  [/too many requests/, 'UNAVAILABLE'],
  [/message larger than max|request is too large/, 'INVALID', '; see --max-request-bytes'],
];

/** @source grpc, doc/statuscodes.md */
const byGrpcCode: Readonly<Record<number, CoordinationCode>> = {
  3: 'INVALID', // INVALID_ARGUMENT
  5: 'INVALID', // NOT_FOUND, of other things than leases
  7: 'DENIED', // PERMISSION_DENIED
  9: 'INVALID', // FAILED_PRECONDITION
  11: 'INVALID', // OUT_OF_RANGE
  12: 'PROTOCOL', // UNIMPLEMENTED
  16: 'DENIED', // UNAUTHENTICATED
};

const surelyUndone = new Set(Object.keys(byGrpcCode).map(Number));

/** Why there's no answer at all. */
export interface Breakdown {
  readonly code: CoordinationCode;
  readonly reason: string;
  /** Nobody can have acted on the request, though it may have been sent. */
  readonly isUndone: boolean;
}

/**
 * Of an error that a socket, TLS or the parser of HTTP gave.
 *
 * etcd hangs up on HTTP where it speaks TLS, and on TLS where it speaks HTTP. So does any member that ends in that
 * moment: that's why it isn't called PROTOCOL.
 */
export function readBreakdown(error: unknown, isTls: boolean): Breakdown {
  const message = error instanceof Error ? error.message : String(error);
  const found: unknown = (error as { code?: unknown } | undefined)?.code; // Node's errors have one
  const code = typeof found === 'string' ? found : '';
  // "write EPROTO 80C0…:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../deps/…"
  const reason = /:SSL routines:[^:]*:([^:]+)/.exec(message)?.[1] ?? message;
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST/.test(code) || code === 'EPROTO') {
    return { code: 'PROTOCOL', reason: `it doesn't speak TLS there (${reason})`, isUndone: true };
  }
  if (code.startsWith('HPE_')) {
    return {
      code: 'PROTOCOL',
      reason: `what answers there isn't HTTP (${reason})`,
      isUndone: false,
    };
  }
  if (/^ERR_SSL_.*ALERT/.test(code)) {
    const asks = 'it refused our certificate, or wants one';
    return { code: 'DENIED', reason: `${asks} (${reason}); see cert and key`, isUndone: true };
  }
  if (certificateProblems.test(code)) {
    const why = `its certificate isn't to be trusted (${reason})`;
    return { code: 'DENIED', reason: `${why}; see ca, and the endpoint's name`, isUndone: true };
  }
  const advice =
    code === 'ECONNRESET' || code === 'EPIPE'
      ? `; if this is so each time, its URL begins with ${isTls ? 'http://' : 'https://'}`
      : '';
  return { code: 'UNAVAILABLE', reason: reason + advice, isUndone: false };
}

/** @source Node 20, doc/api/tls.md, "X509 certificate error codes" */
const certificateProblems =
  /CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_CRL|^INVALID_(CA|PURPOSE)$/;

/** What to say when every endpoint failed, each in its own way. */
export function noneAnswered(
  what: string,
  errors: readonly CoordinationError[],
): CoordinationError {
  const [first] = errors;
  if (first !== undefined && errors.length === 1) return first;

  // Where one of them may recover, trying again isn't in vain.
  const hopeful = errors.find(({ code }) => code === 'UNAVAILABLE' || code === 'TIMEOUT');
  const reasons = errors.map(error => error.message).join('; ');
  const error = hopeful ?? first;
  return new CoordinationError(
    error?.code ?? 'UNAVAILABLE',
    `no endpoint of etcd answered the ${what}: ${reasons}`,
    { cause: error, isUncertain: errors.some(({ isUncertain }) => isUncertain) },
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
