import t from 'tap';
import {
  type Agent,
  type ClusterNode,
  codes,
  gathered,
  noLinks,
  type Started,
  startCluster,
  succeed,
} from '../harness.js';
import { spyOn } from '../wire/spy.js';

// Whatever fails on whichever node, again and again, the job is whole again, and nothing is left in the end.

t.setTimeout(850_000);

const seed = Number(process.env['REGROUP_SEED'] ?? 17);

/** Faults of a job, and how many there are of each: twenty. */
const faults = {
  'a worker exits': 4,
  'a worker is killed': 4,
  'an agent is killed': 4,
  'an agent is told to end': 3,
  'an agent stands still': 2,
  'a node is cut off': 1,
  'the server is killed': 2,
} as const;
type Fault = keyof typeof faults;

/** Numbers below `limit`, the same ones for a seed. */
function dice(state: number): (limit: number) => number {
  let last = state >>> 0;
  return limit => {
    last = (Math.imul(last, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((last / 2 ** 32) * limit);
  };
}

t.test(
  'MN-S1 R-040 R-044 R-047 R-051 twenty failures in a row leave a whole job, and nothing behind',
  { skip: noLinks ?? false },
  async t => {
    t.comment(`REGROUP_SEED=${seed}`);
    const draw = dice(seed);
    const cluster = await startCluster(t, 3);
    const served = await cluster.serve();
    let { server } = served;
    const { endpoint } = served;
    const options = ['--max-restarts=12', '--strikes=off', '--lease=2s', '--return-grace=1s'];
    const conf = '--rdzv-conf=last_call_timeout=3';
    const meeting = { nnodes: '2:3', endpoint, options: [...options, conf] };
    const agents = cluster.nodes.map(node => cluster.join(node, meeting));
    let workers = await gathered(agents, 3);

    /** @returns whether the round must end for it */
    async function happens(fault: Fault, index: number): Promise<boolean> {
      const node = cluster.nodes[index] as ClusterNode; // of three, as are the agents
      const agent = agents[index] as Agent;
      switch (fault) {
        case 'a worker exits':
          node.tell('exit 3');
          return true;
        case 'a worker is killed':
          node.tell('kill');
          return true;
        case 'an agent is killed':
          agents[index] = await node.restart(agent);
          return true;
        case 'an agent is told to end':
          agent.kill('SIGTERM');
          await agent.end();
          agents[index] = cluster.join(node, meeting);
          return true;
        case 'an agent stands still':
          agent.pause();
          await othersGoOn(index);
          agent.resume();
          return true;
        case 'a node is cut off':
          node.cut();
          await othersGoOn(index);
          node.heal();
          return true;
        case 'the server is killed':
          server = await cluster.hub.restart(server);
          await server.line(/^ready /);
          return false;
      }
    }

    async function othersGoOn(index: number): Promise<void> {
      await gathered(
        agents.filter((_, i) => i !== index),
        2,
      );
    }

    const left = Object.entries(faults).flatMap(([fault, times]) =>
      Array<Fault>(times).fill(fault as Fault),
    );
    t.equal(left.length, 20);
    const done: string[] = [];
    try {
      while (left.length > 0) {
        const [fault] = left.splice(draw(left.length), 1) as [Fault]; // one is left
        const index = draw(agents.length);
        done.push(`${fault} (node${index + 1})`);
        if (!(await happens(fault, index))) continue;
        const after = await gathered(agents, 3);
        t.ok(isLater(after, workers), fault);
        workers = after;
      }
    } catch (error) {
      t.comment(done.join(', '));
      throw error;
    }

    succeed(cluster.nodes);
    t.strictSame(await codes(agents), [0, 0, 0]) || t.comment(done.join(', '));
    for (const node of [...cluster.nodes, cluster.hub]) {
      const { stdout } = await node.run(['cat', '/proc/net/tcp', '/proc/net/tcp6']).end();
      const listening = stdout.split('\n').filter(row => row.trim().split(/\s+/)[3] === '0A');
      // The server's own.
      t.equal(listening.length, node === cluster.hub ? 1 : 0, listening.join('\n'));
    }
    t.equal(await spyOn(cluster, endpoint).line(/^keys/), 'keys []');
  },
);

/** Of each node one, of one round that comes after the other's, with ranks from 0. */
function isLater(after: readonly Started[], before: readonly Started[]): boolean {
  const ranks = after.map(({ rank }) => rank).sort();
  return `${ranks}` === '0,1,2' && (after[0]?.round ?? 0) > (before[0]?.round ?? 0);
}
