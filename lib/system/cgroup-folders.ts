import { readText } from './files.js';

/** Where the kernel shows the cgroups that this process is in. */

/** Gives a file's text; undefined if it can't be read. */
export type ReadFile = (path: string) => Promise<string | undefined>;

/** Reads apart: files of cgroups may wait for locks of everybody's. */
export function readIfAny(path: string): Promise<string | undefined> {
  // Not there, or not for us: then it tells nothing.
  return readText(path).catch(() => undefined);
}

/** A folder of a cgroup. */
export interface CgroupFolder {
  readonly path: string;
  readonly version: 1 | 2;
  /** Where its hierarchy is mounted: there's nothing above for us. */
  readonly mount: string;
}

/** The folder of the cgroup that decides for this process and its workers. @param controller `memory`, `pids` */
export async function cgroupFolder(
  controller: string,
  read: ReadFile = readIfAny,
): Promise<CgroupFolder | undefined> {
  const ours = ((await read('/proc/self/cgroup')) ?? '').split('\n').map(line => line.split(':'));
  const mounts = ((await read('/proc/self/mountinfo')) ?? '')
    .split('\n')
    .map(row => row.split(' '));
  const at = (version: 1 | 2, path: string | undefined): CgroupFolder | undefined => {
    const [type, option] = version === 1 ? ['cgroup', controller] : ['cgroup2', ''];
    const found = mounts.find(fields => {
      const [kind, , options = ''] = fields.slice(fields.indexOf('-') + 1);
      return kind === type && (option === '' || options.split(',').includes(option));
    });
    const [root = '/', mount] = found?.slice(3, 5) ?? [];
    if (mount === undefined || path === undefined) return undefined;
    // In a container the mount shows a part of the tree.
    const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
    return { path: `${mount}${below === '/' ? '' : below}`, version, mount };
  };

  const v1 = ours.find(([, controllers]) => controllers?.split(',').includes(controller));
  const v1Folder = at(1, v1?.slice(2).join(':'));
  if (v1Folder !== undefined) return v1Folder;
  const v2 = ours.find(([number, controllers]) => number === '0' && controllers === '');
  // Where limits made the agent move into one of its own, workers are beside that.
  const shared =
    v2
      ?.slice(2)
      .join(':')
      .replace(/\/regroup-agent-\d+$/, '') || '/';
  return at(2, v2 === undefined ? undefined : shared);
}

/** A folder and those above it, up to the mount. */
export function upwards({ path, mount }: CgroupFolder): readonly string[] {
  const found = [path];
  for (let at = path; at.length > mount.length; ) {
    at = at.slice(0, at.lastIndexOf('/'));
    found.push(at);
  }
  return found;
}

/** The number in a limit's file; `max`, and v1's huge number for it, are no limit. */
export function limitIn(text: string | undefined): number | undefined {
  const number = /^\d+/.exec(text ?? '')?.[0];
  return number === undefined || Number(number) > 2 ** 60 ? undefined : Number(number);
}
