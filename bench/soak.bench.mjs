// Claim: whatever fails on whichever of 8 nodes, again and again, no two rounds are ever live, and the job is whole again soon.
//
// It's a program of the tests, test/cluster/soak, which ends with the first thing that doesn't hold. It runs in a cgroup of its own,
// so that whatever it leaves is found. Only when asked for: --minutes says for how long, --seed repeats what has happened.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { ownCgroup } from '../scripts/own-cgroup.mjs';
import { buildTests, placeCommands } from '../scripts/test-build.mjs';
import { row } from './lib.mjs';
import { environment, repo, systemPython } from './machine.mjs';

export const name = 'soak';

/** Beyond the minutes asked for: the last burst, and the end in order. */
const marginMs = 300_000;

export async function run({ minutes = 10, seed = randomSeed(), quick }) {
  buildTests();
  placeCommands();
  const logs = path.join(repo, 'build', 'bench', `soak-${seed}`);
  const lasts = quick ? 0.5 : minutes;
  console.log(`soak: --minutes ${lasts} --seed ${seed}`);
  const cgroup = ownCgroup();
  const outcome = await soak(cgroup, { minutes: lasts, seed, logs, python: systemPython });
  const left = await cgroup.remove();
  const violations = [...outcome.violations, ...left.map(each => `left behind: ${each}`)];
  if (violations.length > 0) {
    fs.mkdirSync(logs, { recursive: true });
    const shown = path.relative(repo, logs);
    throw new Error(`--seed ${seed}, logs in ${shown}:\n${violations.join('\n')}`);
  }
  const faults = Object.entries(outcome.faults).sort(([, a], [, b]) => b - a);
  const sum = faults.reduce((all, [, count]) => all + count, 0);
  const told = faults.map(([kind, count]) => `${count} × ${kind}`).join(', ');
  return [
    row({
      what: '8 nodes, random faults: what must hold and does not',
      unit: '',
      samples: { regroup: [0] },
      target: { text: 'none', limit: () => 0 },
      note: `${lasts} minutes, seed ${seed}, ${outcome.bursts} bursts of ${sum} faults: ${told}; ${outcome.rounds} rounds, ${outcome.workers} workers`,
    }),
    row({
      what: 'the same: last fault of a burst is over → all 8 workers have met',
      samples: { regroup: outcome.wholeMs },
    }),
    row({
      what: 'the same: agent SIGKILLed → its worker last lives, at most',
      samples: { regroup: [outcome.outlivedMs] },
    }),
  ];
}

function randomSeed() {
  return Math.floor(Math.random() * 2 ** 31);
}

/** Runs the program to its end, and shows what it says meanwhile. */
function soak(cgroup, { minutes, seed, logs, python }) {
  const main = path.join(repo, 'build/js/test/cluster/soak/main.js');
  const options = Object.entries({ minutes, seed, logs, python }).map(([k, v]) => `--${k}=${v}`);
  const [command, ...args] = cgroup.within([process.execPath, main, ...options]);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: repo,
      env: environment({}),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), minutes * 60_000 + marginMs);
    let outcome;
    createInterface({ input: child.stdout }).on('line', line => {
      outcome = JSON.parse(line);
    });
    createInterface({ input: child.stderr }).on('line', line => console.log(`  ${line}`));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (outcome) resolve(outcome);
      else reject(new Error(`the soak ended with ${signal ?? code}; --seed ${seed}`));
    });
  });
}
