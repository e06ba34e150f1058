import t from 'tap';
import type { Placed } from '../../lib/placement/place.js';
import { placementTrouble } from '../../lib/placement/watch.js';

const placed: Placed = {
  bindings: [{ cpus: [0, 1] }, { cpus: [2, 3] }, undefined],
  env: [],
  optionalCpus: true,
  optionalMemory: true,
};

function started(more: object = {}): Parameters<typeof placementTrouble>[1] {
  return {
    event: 'started',
    group: 0,
    atMs: 1,
    pids: [70, 71, 72],
    startedAtMs: [1, 1, 1],
    unbound: [],
    ...more,
  };
}

const as = (cpus: Readonly<Record<number, string>>) => (pid: number) => {
  const own = cpus[pid];
  return own === undefined ? undefined : { cpus: own, memoryNodes: '0' };
};

t.test('pain 19: workers that run where they should are not worth a word', async t => {
  t.same(placementTrouble(placed, started(), as({ 70: '0-1', 71: '2-3', 72: '0-7' })), []);
  t.same(placementTrouble(placed, started(), as({})), [], 'nor those that are gone already');
});

t.test('a worker that runs elsewhere is named with where and where not', async t => {
  t.same(placementTrouble(placed, started(), as({ 70: '0-1', 71: '2' })), [
    'worker 1 runs on CPUs 2 instead of 2-3',
  ]);
});

t.test('what the kernel refused is told once, by its call', async t => {
  const unbound = [
    { index: 0, step: 'affinity', syscall: 'sched_setaffinity', errno: 22 },
    { index: 1, step: 'memory', syscall: 'set_mempolicy', errno: 1 },
  ];

  t.same(placementTrouble(placed, started({ unbound }), as({ 70: '0-7', 71: '2-3' })), [
    'worker 0 runs without its CPUs: sched_setaffinity: EINVAL',
    'worker 1 runs without its memory policy: set_mempolicy: EPERM',
  ]);
});

t.test('why nothing is bound is told in the first round only', async t => {
  const trouble = { ...placed, bindings: [], trouble: 'no such CPUs' };

  t.same(placementTrouble(trouble, started(), as({})), ['workers are not bound: no such CPUs']);
  t.same(placementTrouble(trouble, started({ group: 1 }), as({})), []);
});
