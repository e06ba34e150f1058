/** A value, and the variables that it's from: `SLURM_STEP_NODELIST, SLURM_JOB_ID`. */
export interface Said<T> {
  readonly value: T;
  readonly from: string;
}

/** What a scheduler has given a job of several nodes. */
export interface Allotment {
  /** Completes "from …". */
  readonly scheduler: string;
  /** How many nodes there are; absent where no variable says it. */
  readonly nodes?: Said<number>;
  /** This node's number among them. */
  readonly rank: Said<number>;
  /** The first node, by which all find each other; absent where nobody knows its name. */
  readonly first?: Said<string>;
  /** The port there; absent: the usual one. */
  readonly port?: Said<number>;
  /** A name for the job. */
  readonly id?: Said<string>;
}

/** Several nodes, of which the variables don't say enough, or what contradicts itself. */
export interface Conflict {
  readonly found: 'conflict';
  /** `NAME=value` */
  readonly source: string;
  readonly why: string;
  readonly accepted: string;
}

/** What the variables of schedulers come to. */
export type Finding =
  /** One node, as far as they say. `note` is for people who may have meant several. */
  | { readonly found: 'nothing'; readonly note?: string }
  | { readonly found: 'nodes'; readonly allotment: Allotment }
  | Conflict;

/** Where options about nodes are from that nobody had to give. */
export interface SchedulerSource {
  /** Completes "from …". */
  readonly scheduler: string;
  /** What was taken, with the variables that said it. */
  readonly taken: readonly {
    readonly option: string;
    readonly value: string;
    readonly from: string;
  }[];
}

/** What else is looked at, and only where a variable gives a reason to. */
export interface Surroundings {
  /** This machine's name. */
  hostname(): string;
  /** The content of /etc/hosts. */
  hosts(): string;
  /** Whether stdin is a terminal: then somebody may have typed the command into a shell. */
  isTerminal(): boolean;
}

/** A machine without a name, and a command that nobody types. */
export const nowhere: Surroundings = {
  hostname: () => '',
  hosts: () => '',
  isTerminal: () => false,
};

export type Env = Readonly<Record<string, string | undefined>>;

export const nothing: Finding = { found: 'nothing' };

/** What people may give instead, where variables don't say enough. */
export const flagsInstead = '--nnodes=1, or --nnodes=N, --node-rank and --rdzv-endpoint';

/** `NAME=value`, without the value where there's none. */
export function given(env: Env, name: string): string {
  const value = env[name];
  return value === undefined ? name : `${name}=${value}`;
}

export function conflict(source: string, why: string, accepted = flagsInstead): Conflict {
  return { found: 'conflict', source, why, accepted };
}

/** A whole number from 0 in decimal digits. */
export function whole(text: string | undefined): number | undefined {
  return /^\d{1,15}$/.test(text ?? '') ? Number(text) : undefined;
}

/** A node's number by a variable. */
export function rankOf(env: Env, name: string, nodes: number): Said<number> | Conflict {
  const rank = whole(env[name]);
  return rank === undefined || rank >= nodes
    ? conflict(given(env, name), `it is no number below ${nodes}`)
    : { value: rank, from: name };
}

/** The one of several variables that is missing or empty. */
export function missingOf(env: Env, names: readonly string[]): string | undefined {
  return names.find(name => (env[name] ?? '') === '');
}
