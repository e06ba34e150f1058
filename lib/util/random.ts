/**
 * Randomness for names, not for secrets: V8 seeds Math.random from the system, and loading
 * node:crypto costs a start-up millisecond. Whoever makes a file or folder under such a name must
 * make it exclusively.
 */
export function randomName(
  length: number,
  alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789_',
): string {
  let name = '';
  for (let i = 0; i < length; i++) name += alphabet[Math.floor(Math.random() * alphabet.length)];
  return name;
}

/** A version 4 UUID, as torchrun gives to runs that weren't named. */
export function randomUuid(): string {
  const hex = randomName(30, '0123456789abcdef');
  const variant = randomName(1, '89ab');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(12, 15)}-${variant}${hex.slice(15, 18)}-${hex.slice(18, 30)}`;
}
