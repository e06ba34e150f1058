import { checkKey, checkText, checkTxn } from '../checks.js';
import type { Change, Compare, Entry, WatchEvent } from '../coordination.js';

/**
 * JSON of etcd's gateway: bytes are base64, 64-bit numbers are strings, and what is zero, empty or false is left out.
 *
 * @source etcd 3.4.23, etcdserver/etcdserverpb/rpc.proto, mvcc/mvccpb/kv.proto
 */
export interface KeyValue {
  readonly key: string;
  readonly value?: string;
  readonly create_revision?: string;
  readonly mod_revision?: string;
  readonly lease?: string;
}

/** The part of all answers that we read. */
export interface Answer {
  readonly header?: { readonly revision?: string };
}

export interface RangeAnswer extends Answer {
  readonly kvs?: readonly KeyValue[];
}

export interface TxnAnswer extends Answer {
  readonly succeeded?: boolean;
  readonly responses?: readonly { readonly response_range?: RangeAnswer }[];
}

export interface WatchMessage extends Answer {
  readonly created?: boolean;
  readonly canceled?: boolean;
  readonly cancel_reason?: string;
  readonly compact_revision?: string;
  readonly fragment?: boolean;
  readonly events?: readonly { readonly type?: string; readonly kv?: KeyValue }[];
}

/** @throws INVALID */
export function encode(text: string): string {
  checkText(text);
  return Buffer.from(text).toString('base64');
}

export function decode(bytes: string | undefined): string {
  return Buffer.from(bytes ?? '', 'base64').toString();
}

export function encodeKey(key: string): string {
  checkKey(key);
  return encode(key);
}

/** All keys that begin with the prefix: up to, and without, the next one that doesn't. */
export function rangeOf(prefix: string): { readonly key: string; readonly range_end: string } {
  const nul = Buffer.of(0).toString('base64');
  if (prefix === '') return { key: nul, range_end: nul }; // etcd's word for all keys
  const end = Buffer.from(encode(prefix), 'base64');
  const last = end.length - 1;
  end[last] = (end[last] ?? 0) + 1; // no byte of UTF-8 is 0xff
  return { key: encode(prefix), range_end: end.toString('base64') };
}

export function revisionOf(answer: Answer): number {
  return Number(answer.header?.revision ?? 0);
}

export function readEntry(kv: KeyValue): Entry {
  const entry = {
    key: decode(kv.key),
    value: decode(kv.value),
    created: Number(kv.create_revision ?? 0),
    modified: Number(kv.mod_revision ?? 0),
  };
  return kv.lease === undefined || kv.lease === '0' ? entry : { ...entry, lease: kv.lease };
}

export function readEvent({ type, kv }: { type?: string; kv?: KeyValue }): WatchEvent {
  const entry = readEntry(kv ?? { key: '' });
  if (type !== 'DELETE') return { type: 'put', entry };
  return { type: 'delete', key: entry.key, modified: entry.modified };
}

/**
 * A transaction that, where its comparisons don't hold, reads what they were about.
 *
 * @throws INVALID
 */
export function encodeTxn(compares: readonly Compare[], changes: readonly Change[]): unknown {
  checkTxn(compares, changes);
  const compared = [...new Set(compares.map(({ key }) => key))];
  return {
    compare: compares.map(encodeCompare),
    success: changes.map(encodeChange),
    failure: compared.map(key => ({ request_range: { key: encodeKey(key) } })),
  };
}

function encodeCompare(compare: Compare): unknown {
  const key = encodeKey(compare.key);
  if ('is' in compare) return { key, target: 'VERSION', version: '0' };
  if ('value' in compare) return { key, target: 'VALUE', value: encode(compare.value) };
  return { key, target: 'MOD', mod_revision: String(compare.modified) };
}

function encodeChange(change: Change): unknown {
  if ('delete' in change) return { request_delete_range: { key: encodeKey(change.delete) } };
  return { request_put: encodePut(change.put, change.value, change.lease?.id) };
}

export function encodePut(key: string, value: string, lease: string | undefined): unknown {
  return { key: encodeKey(key), value: encode(value), ...(lease !== undefined && { lease }) };
}
