import { readFileSync } from 'node:fs';

/** This node's name, without loading node:os. */
export function hostname(): string {
  return readText('/proc/sys/kernel/hostname').trim() || 'localhost';
}

/**
 * The name that reports give: fully qualified where /etc/hosts says so. Python's getfqdn would ask
 * DNS too; a report mustn't wait for that.
 *
 * @source CPython 3.13, Lib/socket.py, getfqdn: the first name with a dot, else the canonical one
 */
export function qualifiedHostname(name = hostname(), hosts = readText('/etc/hosts')): string {
  for (const line of hosts.split('\n')) {
    const [, ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    if (names.includes(name)) return names.find(each => each.includes('.')) ?? (names[0] as string); // includes has just told
  }
  return name;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Not there, or not for us: as good as empty.
    return '';
  }
}
