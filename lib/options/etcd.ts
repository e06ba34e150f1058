import { type Check, fieldsOf, oneOf, secret, secretText, text } from './checks.js';

/** How agents get into the etcd that they meet at. */
export interface EtcdAccess {
  /** @default 'http' */
  readonly protocol?: 'http' | 'https';
  /** A file of the authorities that its certificates are signed by, in PEM. @default those that Node knows */
  readonly ca?: string;
  /** Files of this node's certificate and its key, in PEM: both, or neither. @default none */
  readonly cert?: string;
  readonly key?: string;
  /** @default none */
  readonly user?: { readonly name: string; readonly password: string };
}

const user: Readonly<Record<keyof Required<EtcdAccess>['user'], Check>> = {
  name: text,
  password: secretText,
};

const fields: Readonly<Record<keyof EtcdAccess, Check>> = {
  protocol: oneOf('http', 'https'),
  ca: text,
  cert: text,
  key: text,
  user: secret(
    fieldsOf(
      user,
      '{ name, password }',
      ({ name, password }) => name !== undefined && password !== undefined,
    ),
  ),
};

export const etcdAccess: Check = secret(
  fieldsOf(
    fields,
    '{ protocol?, ca?, cert?, key?, user? }, with both cert and key or neither',
    ({ cert, key }) => (cert === undefined) === (key === undefined),
  ),
);
