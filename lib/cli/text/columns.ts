/**
 * Rows as lines of a table, their columns two blanks apart.
 *
 * @param isRight which columns end flush, as numbers do. @default none
 */
export function columns(
  rows: readonly (readonly string[])[],
  isRight: (column: number) => boolean = () => false,
): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map(row => row[column]?.length ?? 0)),
  );
  const padded = (cell: string, column: number): string => {
    const width = widths[column] ?? 0;
    return isRight(column) ? cell.padStart(width) : cell.padEnd(width);
  };
  return rows.map(row => row.map(padded).join('  ').trimEnd());
}
