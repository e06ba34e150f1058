import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * Who listens on a TCP port, as far as /proc tells: `python3 (pid 4711)`. Only for error messages:
 * it looks through the descriptors of every process that we may see.
 */
export function portHolder(port: number, proc = '/proc'): string | undefined {
  const inodes = listeners(port, proc);
  if (inodes.size === 0) return undefined;

  for (const pid of entries(proc)) {
    if (!/^\d+$/.test(pid)) continue;
    for (const fd of entries(`${proc}/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link(`${proc}/${pid}/fd/${fd}`))?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      return `${text(`${proc}/${pid}/comm`).trim()} (pid ${pid})`;
    }
  }
  return undefined;
}

/** @source proc_pid_net(5), tcp: local address as hex with its port, state 0A is LISTEN, then the inode */
function listeners(port: number, proc: string): Set<string> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Set<string>();
  for (const table of ['tcp', 'tcp6']) {
    for (const line of text(`${proc}/net/${table}`).split('\n')) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (local?.endsWith(`:${hex}`) && state === '0A' && inode !== undefined) inodes.add(inode);
    }
  }
  return inodes;
}

// What ends or is closed while we look, and what belongs to others, isn't there for us.

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
