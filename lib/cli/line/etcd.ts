import type { EtcdAccess } from '../../options/etcd.js';
import type { CommandName, Env } from '../options/spec.js';
import { refusal } from './command-line-error.js';

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
