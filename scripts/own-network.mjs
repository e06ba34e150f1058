// A network for one test file, so that files can run beside each other: ports that several of them use are
// torchrun's own (29500, 29400), and nobody else's refused connections or listeners are seen.
import { spawnSync } from 'node:child_process';
import { networkInterfaces } from 'node:os';

/** Whether there can be one here: it takes root, and iproute2. */
export const hasOwnNetwork =
  spawnSync('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up']).status === 0;

/** The machine's own addresses, which its names lead to. */
const addresses = Object.values(networkInterfaces())
  .flat()
  .filter(({ internal, scopeid }) => !internal && !scopeid)
  .map(({ address, family }) => `${address}/${family === 'IPv4' ? 32 : 128}`);

/** @returns the command that runs in it; as it was where there can be none */
export function inOwnNetwork(command) {
  if (!hasOwnNetwork) return command;
  const links = [...new Set(addresses)]
    .map(address => `ip addr add ${address} dev lo && `)
    .join('');
  return [
    'unshare',
    '--net',
    'sh',
    '-c',
    `ip link set lo up && ${links}exec "$@"`,
    'sh',
    ...command,
  ];
}
