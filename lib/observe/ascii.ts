/** A text of JSON with nothing but ASCII: as many characters as bytes, and none that a reader can cut. */
export function asciiJson(json: string): string {
  return json.replace(
    /[\u007f-\uffff]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
