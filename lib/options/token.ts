import { type Check, secret } from './checks.js';

type Env = Readonly<Record<string, string | undefined>>;

/** Variables whose values are for agents alone. */
const agentsOnly = ['REGROUP_TOKEN', 'REGROUP_ETCD_PASSWORD'];

/** An environment for workers and whatever else isn't an agent. */
export function withoutSecrets(env: Env): Env {
  if (!agentsOnly.some(name => name in env)) return env;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSecret(name)));
}

/** Whether a variable's value is for agents alone. */
export function isSecret(name: string): boolean {
  return agentsOnly.includes(name);
}

/** Of a token: whoever sees how agents prove that they have it may try guesses. */
const minTokenCharacters = 16;
export const maxTokenCharacters = 4096;

/** What a token must be. */
export const acceptedToken = `${minTokenCharacters} to ${maxTokenCharacters} characters of ASCII by chance, as openssl rand -hex 32 prints them`;

/**
 * What's wrong with a text as a token; the text isn't told. Others than ASCII's characters would be other bytes by another
 * encoding, and bytes that are no text would all be read as one and the same character, and so be easy to guess.
 */
export function tokenProblem(token: string): string | undefined {
  const { length } = token;
  if (length === 0) return 'it is empty';
  if (!/^[ -~]*$/.test(token)) return "it has other characters than ASCII's printable ones";
  if (token !== token.trim()) return 'it begins or ends with a space';
  if (length < minTokenCharacters) return `a token of ${length} characters may be guessed`;
  return length > maxTokenCharacters
    ? `it has more than ${maxTokenCharacters} characters`
    : undefined;
}

export const tokenCheck: Check = secret([
  value => typeof value === 'string' && tokenProblem(value) === undefined,
  acceptedToken,
  value => {
    const why = typeof value === 'string' ? tokenProblem(value) : undefined;
    return why === undefined ? undefined : `${why}; give ${acceptedToken}`;
  },
]);
