import type { NativeEvent } from '../native/events.js';
import { type Allowed, allowedOf } from '../system/allowed.js';
import { formatList } from '../util/cpu-list.js';
import { describeErrno } from '../util/errno.js';
import type { Placed } from './place.js';

/**
 * What isn't as it was asked for, for people: bindings that the kernel refused, and workers that run
 * elsewhere all the same. A cpuset that was narrowed since the machine was read cuts a binding without
 * a word, and the kernel widens one that it has emptied.
 *
 * @param look at a process. @default reads /proc
 */
export function placementTrouble(
  placed: Placed,
  { group: round, pids, unbound }: Extract<NativeEvent, { event: 'started' }>,
  look: (pid: number) => Allowed | undefined = allowedOf,
): readonly string[] {
  const refused = unbound.map(({ index, step, syscall, errno }) => {
    const what = step === 'affinity' ? 'its CPUs' : 'its memory policy';
    return `worker ${index} runs without ${what}: ${syscall}: ${describeErrno(errno).code}`;
  });
  const moved = placed.bindings.flatMap((binding, localRank) => {
    const pid = pids[localRank];
    const isRefused = unbound.some(({ index, step }) => index === localRank && step === 'affinity');
    if (binding === undefined || pid === undefined || isRefused) return [];
    const wanted = formatList(binding.cpus);
    const cpus = look(pid)?.cpus;
    if (cpus === undefined || cpus === wanted) return [];
    return [`worker ${localRank} runs on CPUs ${cpus} instead of ${wanted}`];
  });
  // Decided once for the whole run, so told once.
  const undecided =
    round === 0 && placed.trouble !== undefined ? [`workers are not bound: ${placed.trouble}`] : [];
  return [...undecided, ...refused, ...moved];
}
