import { parseArgs } from 'node:util';
import { soak } from './soak.js';

// A soak as a program, for bench/soak.bench.mjs: says each burst at stderr, and its outcome as JSON at stdout.

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    logs: { type: 'string', default: 'build/bench/soak' },
    python: { type: 'string', default: '/usr/bin/python3' },
  },
});

const { minutes, seed, logs, python } = values;
const say = (line: string): void => console.error(line);
const outcome = await soak({ minutes: Number(minutes), seed: Number(seed), logs, python, say });
console.log(JSON.stringify(outcome));
process.exitCode = outcome.violations.length === 0 ? 0 : 1;
