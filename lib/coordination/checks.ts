import { shown } from '../util/shown.js';
import { type Change, type Compare, CoordinationError, type Revision } from './coordination.js';

/** What no engine is asked for, since another one would answer otherwise, or not at all. Each throws INVALID. */

/** A text that UTF-8 can hold: else two of them would become one key. */
export function checkText(text: string): void {
  if (/\p{Surrogate}/u.test(text)) throw invalid(`${shown(text)} has half a character in it`);
}

export function checkKey(key: string): void {
  if (key === '') throw invalid('a key must not be empty');
  checkText(key);
}

export function checkTxn(compares: readonly Compare[], changes: readonly Change[]): void {
  for (const compare of compares) {
    checkKey(compare.key);
    if ('value' in compare) checkText(compare.value);
  }
  const changed = changes.map(change => ('put' in change ? change.put : change.delete));
  changed.forEach(checkKey);
  for (const change of changes) if ('put' in change) checkText(change.value);
  const twice = changed.find((key, index) => changed.indexOf(key) !== index);
  if (twice !== undefined) throw invalid(`a transaction changes ${shown(twice)} twice`);
}

export function checkWatch(prefix: string, from: Revision): void {
  checkText(prefix);
  if (!Number.isSafeInteger(from) || from < 1) {
    throw invalid(
      `watch of ${shown(prefix)}: revisions are numbered from 1 on, not ${shown(from)}`,
    );
  }
}

export function checkTtl(ttlMs: number): void {
  if (!(ttlMs > 0 && ttlMs < Number.MAX_SAFE_INTEGER)) {
    throw invalid(`a lease of ${shown(ttlMs)} ms can't be`);
  }
}

function invalid(why: string): CoordinationError {
  return new CoordinationError('INVALID', why);
}
