import { spawnSync } from 'node:child_process';
import type { Test } from 'tap';
import { startProgram } from '../harness.js';

/** Where a node's programs run. */
export interface Place {
  /** Host name, too, wherever it can be given; it resolves to nothing. */
  readonly name: string;
  readonly address: string;
  /** The one that leads to the other nodes. */
  readonly networkInterface: string;
  /** What goes in front of a command that is to run there; it keeps the pid. */
  readonly under: readonly string[];
}

/**
 * What of a node's traffic is lost, without a word to either side: all of it, what it sends, or what is sent to it.
 * Its own loopback goes on.
 */
export type CutWay = 'both' | 'out' | 'in';

export interface Network {
  readonly nodes: readonly Place[];
  /** Outside of the nodes, for what serves them all. */
  readonly hub: Place;
  /** Absent where nodes are only addresses of the loopback interface. */
  readonly links?: {
    cut(node: number, way: CutWay): void;
    heal(node: number): void;
  };
}

/** The reason for which links can't be cut here; undefined where they can. */
export const noLinks = probe();

function probe(): string | undefined {
  const links = 'ip link add br0 type bridge && ip link add port1 type veth peer name eth0';
  const made = spawnSync('unshare', ['--net', '--uts', 'sh', '-c', links], { encoding: 'utf8' });
  if (made.status === 0) return undefined;
  const why = made.error?.message ?? made.stderr.trim().split('\n').at(-1);
  return `no network namespaces with veth pairs on a bridge, which take root and iproute2: ${why}`;
}

/** N nodes that reach each other; ends with the test. */
export async function makeNetwork(t: Test, count: number): Promise<Network> {
  return noLinks === undefined ? await namespaces(t, count) : loopback(count);
}

/** Each test process has addresses of its own, as far as there are enough. */
function loopback(count: number): Network {
  const place = (name: string, last: number): Place => ({
    name,
    address: `127.77.${process.pid % 250}.${last}`,
    networkInterface: 'lo',
    under: [],
  });
  const nodes = Array.from({ length: count }, (_, i) => place(`node${i + 1}`, i + 1));
  return { nodes, hub: place('hub', 254) };
}

/** A namespace, and the process that it lives with. */
interface Held extends Place {
  readonly pid: number;
  ip(...commands: readonly string[]): void;
}

/**
 * A namespace for each node, and one for the bridge between them. None has a name in the file system: each lives as long as a
 * process that waits for the end of its stdin, so that nothing is left of them however the test ends. The bridge is in
 * none but its own, so every test may use the same addresses.
 */
async function namespaces(t: Test, count: number): Promise<Network> {
  const hub = await hold(t, 'hub', '10.77.0.254', 'br0');
  const nodes = await Promise.all(
    Array.from({ length: count }, (_, i) => hold(t, `node${i + 1}`, `10.77.0.${i + 1}`, 'eth0')),
  );
  const port = (node: number) => `port${node + 1}`;
  hub.ip(
    'link add br0 type bridge',
    `addr add ${hub.address}/24 dev br0`,
    'link set br0 up',
    ...nodes.flatMap(({ pid }, node) => [
      `link add ${port(node)} type veth peer name eth0 netns ${pid}`,
      `link set ${port(node)} master br0 up`,
    ]),
  );
  for (const node of nodes) node.ip(`addr add ${node.address}/24 dev eth0`, 'link set eth0 up');

  /**
   * Packets to a hardware address that nobody has are lost silently. A link that's down would keep some of them
   * for later, and tell the node.
   */
  const lose = (from: Held, to: Held): void => {
    const { networkInterface } = from;
    from.ip(
      `neigh replace ${to.address} lladdr 02:00:00:00:00:ff dev ${networkInterface} nud permanent`,
    );
  };
  const find = (from: Held, to: Held): void =>
    from.ip(`neigh del ${to.address} dev ${from.networkInterface}`);
  const lost = new Map<string, readonly [Held, Held]>();
  return {
    nodes,
    hub,
    links: {
      cut(index, way) {
        const node = nodes[index] as Held; // the harness has made it
        for (const other of [hub, ...nodes.filter(each => each !== node)]) {
          for (const [from, to] of [
            ...(way === 'in' ? [] : [[node, other] as const]),
            ...(way === 'out' ? [] : [[other, node] as const]),
          ]) {
            lose(from, to);
            lost.set(`${from.name} to ${to.name}`, [from, to]);
          }
        }
      },
      heal(index) {
        for (const [key, pair] of lost) {
          if (!pair.includes(nodes[index] as Held)) continue;
          find(...pair);
          lost.delete(key);
        }
      },
    },
  };
}

async function hold(
  t: Test,
  name: string,
  address: string,
  networkInterface: string,
): Promise<Held> {
  const script = 'hostname "$1" && ip link set lo up && echo held && exec cat';
  const holder = ['unshare', '--net', '--uts', 'sh', '-c', script, 'sh', name];
  const run = startProgram(t, holder, { typing: true });
  t.teardown(async () => {
    run.type();
    await run.ended;
  });
  await run.line(/^held$/);
  const under = ['nsenter', `--net=/proc/${run.pid}/ns/net`, `--uts=/proc/${run.pid}/ns/uts`, '--'];
  const ip = (...commands: readonly string[]): void => {
    const [program = '', ...args] = [...under, 'ip', '-batch', '-'];
    const done = spawnSync(program, args, { input: commands.join('\n'), encoding: 'utf8' });
    if (done.status !== 0) {
      throw new Error(`${name}: ip ${commands.join('; ')}: ${done.error ?? done.stderr}`);
    }
  };
  return { name, address, networkInterface, under, pid: run.pid, ip };
}
