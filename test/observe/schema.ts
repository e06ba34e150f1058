import { readFileSync } from 'node:fs';

type Schema = Readonly<Record<string, unknown>>;

const published = JSON.parse(readFileSync('schema/events.schema.json', 'utf8')) as Schema & {
  readonly $defs: Readonly<Record<string, Schema>>;
};

/** What keeps a value from being a line of the file that `events` names; empty: nothing does. */
export function schemaProblems(value: unknown): readonly string[] {
  return problems(published, value, 'line');
}

/** The words of JSON schema that the published one has, and no other: an unknown one throws. */
function problems(schema: Schema, value: unknown, at: string): string[] {
  const { $ref, oneOf, const: only, enum: some, type, properties, required, items } = schema;
  const unknown = Object.keys(schema).filter(word => !known.includes(word));
  if (unknown.length > 0) throw new Error(`${at}: ${unknown.join(', ')}`);

  if (typeof $ref === 'string') {
    const definition = published.$defs[$ref.replace('#/$defs/', '')];
    if (definition === undefined) throw new Error(`${at}: ${$ref}`);
    return problems(definition, value, at);
  }
  if (Array.isArray(oneOf)) return ofOne(oneOf as Schema[], value, at);
  if ('const' in schema) return value === only ? [] : [`${at} is not ${only}`];
  if (Array.isArray(some))
    return some.includes(value) ? [] : [`${at}: ${value} is none of ${some}`];
  const types = Array.isArray(type) ? type : [type];
  if (!types.includes(typeOf(value))) return [`${at} is no ${types.join(' or ')}`];
  if (Array.isArray(value))
    return value.flatMap((each, i) => problems(items as Schema, each, `${at}[${i}]`));
  if (properties === undefined) return [];
  const fields = value as Readonly<Record<string, unknown>>;
  const missing = (required as string[]).filter(name => !(name in fields));
  const inside = Object.entries(fields).flatMap(([name, each]) => {
    const own = (properties as Readonly<Record<string, Schema>>)[name];
    // The schema lets readers meet new fields; what we write ourselves is all in it.
    return own === undefined
      ? [`${at}.${name} is in no type`]
      : problems(own, each, `${at}.${name}`);
  });
  return [...missing.map(name => `${at} has no ${name}`), ...inside];
}

const known = [
  ...['$schema', '$id', '$defs', '$ref', 'title', 'description', 'oneOf', 'const', 'enum', 'type'],
  ...['properties', 'required', 'items'],
];

/** @returns what's wrong with the alternative that comes nearest */
function ofOne(schemas: readonly Schema[], value: unknown, at: string): string[] {
  const all = schemas.map(each => problems(each, value, at));
  if (all.filter(each => each.length === 0).length === 1) return [];
  return all.reduce((best, each) => (each.length < best.length ? each : best));
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
