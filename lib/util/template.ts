/**
 * Replaces `$name` and `${name}` by `values` and `$$` by `$`; whatever else begins with a dollar
 * stays as it is. Names are looked up as they're written, so `$LOCAL_RANK` isn't `$local_rank`.
 *
 * @source CPython 3.13, Lib/string.py, Template.safe_substitute: identifiers are `[_a-z][_a-z0-9]*`
 *   of ASCII letters in either case
 */
export function safeSubstitute(template: string, values: Readonly<Record<string, string>>): string {
  if (!template.includes('$')) return template;

  return template.replace(pattern, (whole, escaped, named, braced) => {
    if (escaped !== undefined) return '$';
    const name: string = named ?? braced;
    return Object.hasOwn(values, name) ? (values[name] as string) : whole; // hasOwn has just told
  });
}

const pattern = /\$(?:(\$)|([_a-zA-Z][_a-zA-Z0-9]*)|\{([_a-zA-Z][_a-zA-Z0-9]*)\})/g;
