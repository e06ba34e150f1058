import { type Check, isText, secret } from './checks.js';

/** Of a token: whoever sees how agents prove that they have it may try guesses. */
const minTokenCharacters = 16;
export const maxTokenCharacters = 4096;

/** What a token must be. */
export const acceptedToken = `${minTokenCharacters} to ${maxTokenCharacters} characters by chance, as openssl rand -hex 32 prints them`;

/** What's wrong with a text as a token; the text isn't told. */
export function tokenProblem(token: string): string | undefined {
  const { length } = token;
  if (token.includes('\0')) return 'it has a NUL';
  if (length < minTokenCharacters) return `a token of ${length} characters may be guessed`;
  return length > maxTokenCharacters ? `it has ${length} characters` : undefined;
}

export const tokenCheck: Check = secret([
  value => isText(value) && tokenProblem(value) === undefined,
  acceptedToken,
  value => {
    const why = typeof value === 'string' ? tokenProblem(value) : undefined;
    return why === undefined ? undefined : `${why}; give ${acceptedToken}`;
  },
]);
