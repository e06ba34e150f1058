import t from 'tap';
import { World, type WorldOptions } from './world.js';

// Random schedules of a whole job; REGROUP_SCHEDULES=1000000 for more of them, and REGROUP_FIRST_SCHEDULE=1500 for
// others..

const schedules = Number(process.env['REGROUP_SCHEDULES'] ?? 1500);
const firstSeed = Number(process.env['REGROUP_FIRST_SCHEDULE'] ?? 0);

interface Outcome {
  readonly problem?: string;
  readonly ending?: string;
  readonly rounds: number;
}

/** Faults for a while, and then none: the job must come to an end, unless there are too few for one. */
function play(options: WorldOptions): { outcome: Outcome; world: World } {
  const world = new World(options);
  const end = (outcome: Omit<Outcome, 'rounds'>) => ({
    outcome: { ...outcome, rounds: world.rounds },
    world,
  });
  try {
    const turns = 100 + world.choose(500);
    for (let i = 0; i < turns; i++) world.turn();
    world.isCalm = true;
    for (let i = 0; i < 20_000; i++) {
      world.turn();
      const ending = world.settled();
      if (ending !== undefined) return end({ ending });
      if (!world.isEnough()) return end({ ending: 'too few' });
    }
  } catch (error) {
    return end({ problem: (error as Error).message });
  }
  return end({ problem: 'it never ends' });
}

/** Which numbers of nodes are legal: of many jobs any, of others some, or what whole groups make up. */
function sizesOf(seed: number, agents: number, minNodes: number, maxNodes: number) {
  const any = { nodesSet: [], nodesPerGroup: 0, groupSize: 1 };
  switch (Math.floor(seed / 20) % 5) {
    case 0:
      return { ...any, nodesSet: [...new Set([minNodes, maxNodes])] };
    case 1:
      return { ...any, nodesPerGroup: 1 + (seed % 3) };
    case 2:
      // Of the last group a node may be missing.
      if (agents < 2 || maxNodes % 2 !== 0) return { ...any, nodesPerGroup: 2 };
      return { ...any, nodesPerGroup: 2 + (seed % 2), groupSize: 2 };
    default:
      return any;
  }
}

t.test('whatever fails in whatever order, there is one world at a time, and an end', async t => {
  const endings = new Map<string, number>();
  let rounds = 0;
  let kept = 0;
  let left = 0;
  for (let seed = firstSeed; seed < firstSeed + schedules; seed++) {
    const agents = 1 + (seed % 5);
    const minNodes = 1 + (seed % agents);
    const maxNodes = Math.max(minNodes, agents - (seed % 2));
    const options = {
      ...{ seed, agents, minNodes, maxNodes, maxRestarts: seed % 4, strikes: seed % 3 },
      isHasty: seed % 4 === 3,
      ...sizesOf(seed, agents, minNodes, maxNodes),
    };
    const { outcome, world } = play(options);
    if (outcome.problem !== undefined) {
      t.fail(`seed ${seed}: ${outcome.problem}`, { options, log: world.log.slice(-60) });
      return;
    }
    const { ending = '' } = outcome;
    endings.set(ending, (endings.get(ending) ?? 0) + 1);
    rounds += outcome.rounds;
    kept += world.kept;
    left += world.left;
  }
  // They come to something.
  t.ok((endings.get('succeeded') ?? 0) > schedules / 10, JSON.stringify([...endings]));
  t.ok((endings.get('failed') ?? 0) > schedules / 50);
  t.ok(rounds > schedules);
  t.ok(left > 0, 'nodes that were left out were needed');
  t.ok(kept > schedules / 20, `${kept} have lived on at another server`);
});
