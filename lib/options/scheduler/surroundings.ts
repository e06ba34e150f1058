import { fstatSync, readFileSync } from 'node:fs';
import { hostname } from '../../system/hostname.js';
import type { Surroundings } from './allotment.js';

/** Majors of the kernel's pseudo terminals. @source Linux 6.12, Documentation/admin-guide/devices.txt */
const ptys = { first: 136, last: 143 };

/** This machine and this process. */
export const here: Surroundings = { hostname, hosts, isTerminal };

function hosts(): string {
  try {
    return readFileSync('/etc/hosts', 'utf8');
  } catch {
    // No names from there, then.
    return '';
  }
}

/** Without node:tty, which loads the network stack. Nobody types into a console's own terminal on a cluster. */
function isTerminal(): boolean {
  try {
    const stat = fstatSync(0);
    const major = (stat.rdev >> 8) & 0xfff;
    return stat.isCharacterDevice() && major >= ptys.first && major <= ptys.last;
  } catch {
    // Closed.
    return false;
  }
}
