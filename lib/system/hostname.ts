import { readFileSync } from 'node:fs';

/** This node's name, without loading node:os. */
export function hostname(): string {
  return readText('/proc/sys/kernel/hostname').trim() || 'localhost';
}

/**
 * The name that reports give: fully qualified where /etc/hosts says so. Like Python's getfqdn, this
 * takes the first line with this node's address, whose names needn't include this node's. Python
 * would ask DNS too; a report mustn't wait for that.
 *
 * @source CPython 3.13, Lib/socket.py, getfqdn: the first name with a dot, else the canonical one
 */
export function qualifiedHostname(name = hostname(), hosts = readText('/etc/hosts')): string {
  const lines = hosts.split('\n').map(line => (line.split('#')[0] ?? '').trim().split(/\s+/));
  const own = lines.find(([, ...names]) => names.includes(name));
  const [, ...names] = lines.find(([address]) => address === own?.[0]) ?? [];
  return names.find(each => each.includes('.')) ?? names[0] ?? name;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Not there, or not for us: as good as empty.
    return '';
  }
}
