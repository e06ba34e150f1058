// agents.mjs: many agents' part in one job, in one process: the rendezvous, the coordination client and the lease keeper of each,
// as an agent has them, and no workers. It's told what to do, and tells what has happened, by messages of its parent.
import { connectServer } from '../../dist/coordination/server.js';
import { native } from '../../dist/native/addon.js';
import { tableVersion } from '../../dist/rendezvous/job/shared.js';
import { createTogether } from '../../dist/rendezvous/together.js';
import { waitOf } from '../../dist/rendezvous/told/wait.js';
import { createSpaced, createWaits } from '../../dist/rendezvous/told/waits.js';

const [host, port, first, count, total, lease] = process.argv.slice(2);
const [ownFirst, own, nodes, leaseMs] = [first, count, total, lease].map(Number);
const joinTimeoutMs = 600_000;
const endsMs = 35_000;
/** Of an agent, by default. */
const stallMs = 60_000;
const beatMs = 1_000;
const waitGapMs = 50;

const addon = native();
addon.raiseNofile();
// One for all: it has no workers, and so nothing that fences could end.
const supervisor = addon.createSupervisor({ disable: [] }, () => {});
const counts = { requests: 0, changes: 0, steps: 0, waits: 0 };
const nowNs = () => Number(process.hrtime.bigint());

const agents = Array.from({ length: own }, (_, i) => startAgent(ownFirst + i));
/** How many have been told something of a round, and when the last one was. */
const told = new Map();

function startAgent(index) {
  const hostname = `node${index}`;
  const waits = createWaits(() => counts.waits++);
  const options = {
    runId: 'scale',
    agent: `${hostname}.${index}`,
    hostname,
    nodeRank: index,
    localWorldSize: 8,
    joinTimeoutMs,
    endsMs,
    lastCallMs: 30_000,
    returnGraceMs: 100,
    growDebounceMs: 2_000,
    strikes: { failures: 3, perMs: 600_000 },
    policy: { maxRestarts: 1_000, rules: [], resetOnProgress: false },
    settings: {
      version: tableVersion,
      minNodes: nodes,
      maxNodes: nodes,
      nodesPerUnit: 1,
      nodesSet: [],
      groupSize: 1,
      leaseMs,
    },
  };
  const limits = { endpoint: `${host}:${port}`, joinTimeoutMs, lastCallMs: 30_000, endsMs };
  let isFailing = false;
  let known;
  const wait = () => waits.now(waitOf(known, limits));
  const spacedWait = createSpaced(wait, waitGapMs);
  const together = createTogether(options, {
    meet,
    openStore: () => ({ port: 29_500 }), // nobody connects to it
    closeStore() {},
    setFence() {},
    bootMs: () => addon.boottimeMs(),
    nowMs: () => performance.now(),
    tell,
    stepped(state) {
      counts.steps++;
      known = state;
      if (state.local.is === 'waiting') spacedWait.soon();
      else wait();
    },
    notice() {},
    reached() {},
    leftOut() {},
    failed: error => {
      throw error;
    },
  });

  async function meet() {
    const coordination = await connectServer({ host, port: Number(port), timeoutMs: 120_000 });
    return { coordination: counted(coordination), address: host, isHost: () => false, keep };
  }

  function tell({ event, round, verdict }) {
    if (event === 'round-formed') tally('formed', round);
    // No worker has to end first.
    if (event === 'round-broken') {
      tally('broken', round);
      if (!isFailing) together.join();
    }
    if (event === 'verdict') {
      if (verdict.do !== 'restart') throw new Error(`the job ends: ${JSON.stringify(verdict)}`);
      isFailing = false;
      together.join();
    }
  }

  return {
    join: () => together.join(),
    close: () => together.close(),
    fail(round) {
      isFailing = true;
      const report = { round, failures: [], ranMs: 1, atMs: performance.now(), progress: 0 };
      together.announce(round);
      // Once the others have been told: its workers take some time to end.
      setTimeout(() => together.report({ ...report, isStuck: false, chance: 0 }), 1_000);
    },
  };
}

/** As agent/core.ts does. */
function keep({ id, ttlMs }, marginMs, told) {
  const to = { host, port: Number(port), lease: id, ttlMs, marginMs, stallMs };
  const kept = addon.keepLease(to, supervisor, ({ event }) => told(event));
  const beats = setInterval(() => kept.beat(), beatMs);
  return {
    close() {
      clearInterval(beats);
      kept.close();
    },
  };
}

/** The same, with its requests and what its watches tell counted. */
function counted(coordination) {
  const count = call => {
    counts.requests++;
    return call;
  };
  return {
    ...coordination,
    get: prefix => count(coordination.get(prefix)),
    put: (...args) => count(coordination.put(...args)),
    txn: (...args) => count(coordination.txn(...args)),
    lease: ttlMs => count(coordination.lease(ttlMs)),
    watch(prefix, from, listener) {
      counts.requests++;
      return coordination.watch(prefix, from, {
        changed(events) {
          counts.changes += events.length;
          listener.changed(events);
        },
        ended: error => listener.ended(error),
      });
    },
  };
}

/** Tells once the last of this process's agents has been told it, of a failure all but the one that has it. */
function tally(what, round) {
  const key = `${what} ${round}`;
  const sum = (told.get(key) ?? 0) + 1;
  told.set(key, sum);
  const expected = what === 'broken' && failed === round ? own - 1 : own;
  if (sum === expected) process.send({ what, round, ns: nowNs() });
}

let failed;

process.on('message', async ({ ask, round }) => {
  switch (ask) {
    case 'join':
      for (const agent of agents) agent.join();
      break;
    case 'fail':
      failed = round;
      process.send({ what: 'fails', round, ns: nowNs() });
      agents[0].fail(round);
      if (own === 1) process.send({ what: 'broken', round, ns: nowNs() });
      break;
    case 'counts': {
      const { user, system } = process.cpuUsage();
      const { rss } = process.memoryUsage();
      process.send({ what: 'counts', counts: { ...counts, cpuUs: user + system, rss } });
      break;
    }
    case 'end':
      await Promise.all(agents.map(agent => agent.close()));
      process.exit(0);
  }
});
process.on('disconnect', () => process.exit(1));
process.send({ what: 'ready' });
