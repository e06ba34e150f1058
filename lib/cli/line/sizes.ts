const units: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

export const acceptedSize = 'a size like 512M, 64G or 1.5T, or a number of bytes';

/** `512M`, `64GiB`, `1.5t`: powers of 1024, as systemd and docker have them. Undefined if it's no size. */
export function parseSize(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)(?:([kmgt])(?:i?b)?|b)?$/i.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  const bytes = Math.round(Number(number) * (units[unit.toUpperCase()] ?? 0));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
