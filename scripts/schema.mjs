// node scripts/schema.mjs: schema/events.schema.json anew, from the types in lib/events.ts. A test compares them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const path = join(root, 'schema/events.schema.json');

/** The schema of a line of the file that `events` names, as a text. */
export function eventSchema() {
  const source = join(root, 'lib/events/recorder.ts');
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
    ts.sys,
    root,
  );
  const program = ts.createProgram([source], { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const named = checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(source)))
    .find(({ name }) => name === 'EventRecord');
  const describer = describeTypes(checker);
  const record = describer.ofUnion(checker.getDeclaredTypeOfSymbol(named));
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://unpkg.com/regroup/schema/events.schema.json',
    title: 'A line of the file that `regroup --events` writes',
    description:
      'Readers skip events and fields that they do not know: later releases may have more of both.',
    ...record,
    $defs: describer.definitions(),
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Types that have a name of their own are told once, below `$defs`. */
function describeTypes(checker) {
  const definitions = new Map();

  function ofUnion(type) {
    return { oneOf: variantsOf(type).map(each => inline(each)) };
  }

  function variantsOf(type) {
    return type.isUnion() ? type.types : [type];
  }

  function describe(type) {
    const name = (type.aliasSymbol ?? type.symbol)?.name;
    const isNamed = name !== undefined && /^[A-Z]/.test(name) && isOurs(type);
    if (!isNamed) return inline(type);
    if (!definitions.has(name)) {
      definitions.set(name, {}); // should it name itself
      definitions.set(name, inline(type));
    }
    return { $ref: `#/$defs/${name}` };
  }

  function isOurs(type) {
    const [declaration] = (type.aliasSymbol ?? type.symbol)?.declarations ?? [];
    return declaration?.getSourceFile().fileName.startsWith(join(root, 'lib')) === true;
  }

  function inline(type) {
    const { flags } = type;
    if (flags & ts.TypeFlags.StringLiteral) return { const: type.value };
    if (flags & ts.TypeFlags.NumberLiteral) return { const: type.value };
    if (flags & ts.TypeFlags.BooleanLiteral)
      return { const: checker.typeToString(type) === 'true' };
    if (flags & ts.TypeFlags.Boolean) return { type: 'boolean' };
    if (flags & ts.TypeFlags.String) return { type: 'string' };
    if (flags & ts.TypeFlags.Number) return { type: 'number' };
    if (type.isUnion()) return inlineUnion(type);
    if (checker.isArrayType(type)) {
      const [item] = checker.getTypeArguments(type);
      return { type: 'array', items: describe(item) };
    }
    return object(type);
  }

  function inlineUnion(type) {
    const types = type.types.filter(each => !(each.flags & ts.TypeFlags.Undefined));
    if (types.length === 1) return describe(types[0]);
    if (types.every(each => each.flags & ts.TypeFlags.StringLiteral))
      return { enum: types.map(each => each.value) };
    if (types.every(each => each.flags & ts.TypeFlags.BooleanLiteral)) return { type: 'boolean' };
    return { oneOf: types.map(describe) };
  }

  function object(type) {
    const properties = {};
    const required = [];
    for (const property of type.getProperties()) {
      const isOptional = (property.flags & ts.SymbolFlags.Optional) !== 0;
      if (!isOptional) required.push(property.name);
      properties[property.name] = field(property);
    }
    if (Object.keys(properties).length === 0)
      throw new Error(`no fields in ${checker.typeToString(type)}`);
    return { type: 'object', properties, required };
  }

  function field(property) {
    const text = ts.displayPartsToString(property.getDocumentationComment(checker));
    const schema = describe(checker.getTypeOfSymbol(property));
    const isInfinite = schema.type === 'number' && text.includes('Infinity');
    return {
      ...(isInfinite ? { type: ['number', 'null'] } : schema),
      ...(text === ''
        ? {}
        : { description: text.replaceAll(/\s+/g, ' ').replace('Infinity', 'null') }),
    };
  }

  return {
    ofUnion,
    definitions: () => Object.fromEntries([...definitions].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, eventSchema());
}
