// Processes that bear a mark: an entry of the environment that whatever they start inherits.
import fs from 'node:fs';

/** Pids of those that live; what's dead and waits for its parent has nothing any more. */
export function processesWith(entry) {
  return fs
    .readdirSync('/proc')
    .filter(pid => /^\d+$/.test(pid))
    .filter(pid => {
      try {
        const isZombie = / [ZX] /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8').slice(-400));
        const environ = fs.readFileSync(`/proc/${pid}/environ`, 'utf8');
        return !isZombie && environ.split('\0').includes(entry);
      } catch {
        return false;
      }
    });
}

export function endAll(entry) {
  for (const pid of processesWith(entry)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}
