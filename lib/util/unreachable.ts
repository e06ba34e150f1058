/** Makes a switch exhaustive: a variant that nobody handles is a type error here. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
