import type { EtcdAccess } from '../../options/nodes.js';
import type { CommandName, Env, Values } from '../options/spec.js';
import { tokenGiven } from '../process/token.js';
import { refusal } from './command-line-error.js';
import { isEtcd } from './meeting.js';
import { invalidInt, pythonInt, pythonTime, repr } from './python-text.js';

/** `--rdzv-conf`: its grammar, and the keys whose values torchrun checks. */

type Conf = ReadonlyMap<string, string>;

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, _parse_rendezvous_config */
export function parseRdzvConf(values: Values): Conf {
  const accepted = '<key1>=<value1>,...,<keyN>=<valueN>';
  const conf = new Map<string, string>();
  const text = (values.text('rdzv_conf') ?? '').trim();
  if (text === '') return conf;

  for (const pair of text.split(',')) {
    const equals = pair.indexOf('=');
    const key = (equals < 0 ? pair : pair.slice(0, equals)).trim();
    const value = equals < 0 ? '' : pair.slice(equals + 1).trim();
    if (key === '') {
      const why = `The rendezvous configuration string must be in format ${accepted}.`;
      values.refuse('rdzv_conf', why, accepted);
    }
    if (value === '') {
      const why = `The rendezvous configuration option '${key}' must have a value specified.`;
      values.refuse('rdzv_conf', why, accepted);
    }
    conf.set(key, value);
  }
  return conf;
}

export function describeConf(conf: Conf, rank: number | undefined): string {
  const pairs = [...conf].map(([key, value]) => `${repr(key)}: ${repr(value)}`);
  if (rank !== undefined) pairs.push(`'rank': ${rank}`);
  if (!conf.has('timeout')) pairs.push("'timeout': 900");
  return `{${pairs.join(', ')}}`;
}

const booleans = /^(1|true|t|yes|y|0|false|f|no|n)$/i;
/** A flag of a value that has been checked. */
export function confFlag(conf: Conf, key: string): boolean | undefined {
  const text = conf.get(key);
  return text === undefined ? undefined : /^(1|t|y)/i.test(text);
}

const timeouts = ['join', 'last_call', 'close', 'heartbeat'];
const others = ['keep_alive_interval', 'keep_alive_max_attempt'];

/**
 * Refuses values of known keys that aren't theirs, with torchrun's texts and in its order. Keys that nobody knows, or that the
 * backend doesn't look at, are nobody's business.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous: api.py, get_as_bool and get_as_int;
 *   c10d_rendezvous_backend.py; dynamic_rendezvous.py, create_handler; static_tcp_rendezvous.py;
 *   etcd_rendezvous.py; etcd_rendezvous_backend.py
 */
export function checkRdzvConf(values: Values, backend: string, conf: Conf): void {
  if (backend === 'static') {
    const text = conf.get('timeout');
    if (text !== undefined && pythonInt(text) === undefined)
      refuse(values, 'timeout', invalidInt(text), 'seconds');
  } else if (backend === 'c10d') {
    checkStore(values, conf);
    checkTimes(values, conf);
  } else if (isEtcd(backend)) {
    const protocol = conf.get('protocol')?.trim().toLowerCase() ?? 'http';
    if (protocol !== 'http' && protocol !== 'https') {
      const which = backend === 'etcd' ? 'etcd protocol' : 'protocol';
      refuse(values, 'protocol', `The ${which} must be HTTP or HTTPS.`, 'http or https');
    }
    integerOf(values, conf, 'timeout');
    checkTimes(values, conf);
  }
}

function checkStore(values: Values, conf: Conf): void {
  const storeType = (conf.get('store_type') ?? 'tcp').trim().toLowerCase();
  if (storeType !== 'tcp' && storeType !== 'file') {
    const why = 'Invalid store type given. Currently only supports file and tcp.';
    refuse(values, 'store_type', why, 'tcp or file');
  }
  if (storeType === 'file') return;
  if (!booleans.test(conf.get('is_host') ?? '1')) {
    const why =
      "The rendezvous configuration option 'is_host' does not represent a valid boolean value.";
    refuse(values, 'is_host', why, '1 or 0');
  }
  if ((integerOf(values, conf, 'read_timeout') ?? 60) <= 0) {
    const why = 'The read timeout must be a positive integer.';
    refuse(values, 'read_timeout', why, 'seconds from 1');
  }
}

function checkTimes(values: Values, conf: Conf): void {
  for (const name of timeouts) {
    const seconds = integerOf(values, conf, `${name}_timeout`) ?? 1;
    if (seconds > 0) continue;
    const why = `The ${name} timeout (${pythonTime(seconds)}) must be positive.`;
    refuse(values, `${name}_timeout`, why, 'seconds from 1');
  }
  for (const key of others) integerOf(values, conf, key);
}

function integerOf(values: Values, conf: Conf, key: string): number | undefined {
  const text = conf.get(key);
  if (text === undefined) return undefined;
  const why = `The rendezvous configuration option '${key}' does not represent a valid integer value.`;
  return pythonInt(text) ?? refuse(values, key, why, 'an integer');
}

function refuse(values: Values, key: string, why: string, accepted: string): never {
  return values.refuse('rdzv_conf', why, `${key}=${accepted}`);
}

/** The file that has the job's token, in the spelling of its own or in torchrun's way of writing keys. */
export function tokenFileOf(conf: Conf): string | undefined {
  return conf.get('token-file') ?? conf.get('token_file');
}

/** The job's token. @throws CommandLineError */
export function tokenOf(command: CommandName, conf: Conf, env: Env): string | undefined {
  if (conf.has('token')) {
    const why = 'all users of a machine may read its command lines';
    throw refusal(command, '--rdzv-conf token', why, 'token-file=PATH, or REGROUP_TOKEN');
  }
  const given = tokenGiven(tokenFileOf(conf), '--rdzv-conf token-file', env);
  if ('token' in given) return given.token;
  throw refusal(command, given.from, given.why, given.accepted);
}

/**
 * How nodes get into etcd: by keys of `--rdzv-conf`, in the spelling of either of torchrun's backends, and with a user and
 * a password that only the environment says, since everybody on a machine may see command lines.
 *
 * @source pytorch 2.13, torch/distributed/elastic/rendezvous/etcd_rendezvous.py and etcd_rendezvous_backend.py,
 *   _create_etcd_client
 * @throws CommandLineError
 */
export function etcdAccessOf(
  command: CommandName,
  conf: ReadonlyMap<string, string>,
  env: Env,
  warn: (text: string) => void,
): EtcdAccess {
  const protocol = conf.get('protocol')?.trim().toLowerCase();
  const ca = conf.get('cacert') ?? conf.get('ca_cert');
  const cert = conf.get('cert') ?? conf.get('ssl_cert');
  // A file of both is as good.
  const key = conf.get('key') ?? conf.get('ssl_cert_key') ?? cert;
  if (protocol !== 'https' && (ca ?? cert ?? key) !== undefined)
    warn(
      'etcd is asked by HTTP, without certificates; --rdzv-conf protocol=https makes use of them',
    );

  const { REGROUP_ETCD_USER: name = '', REGROUP_ETCD_PASSWORD: password = '' } = env;
  if ((name === '') !== (password === '')) {
    const names = ['REGROUP_ETCD_USER', 'REGROUP_ETCD_PASSWORD'] as const;
    const [given, other] = password === '' ? names : ([names[1], names[0]] as const);
    throw refusal(command, given, `it goes with ${other}, which isn't set`, 'both, or neither');
  }
  return {
    ...(protocol === 'https' ? { protocol } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(name === '' ? {} : { user: { name, password } }),
  };
}
