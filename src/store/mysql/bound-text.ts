// A statement with its parameters in it, as the text protocol has it. The driver's own formatting looks at every character
// for all that could be asked of it; a registration is six rows of texts, and that was a tenth of what dns has to do for it.
//
// Within single quotes only the quote and the backslash mean something (sessions of ours are in utf8mb4, and have no
// NO_BACKSLASH_ESCAPES; node-connection.ts). Control characters are left to the driver, which spells them.
import type { SqlValue } from "../sql/sql-database.ts";

const PLAIN = /^[^'\\\p{Cc}]*$/u;
const WITHOUT_CONTROLS = /^\P{Cc}*$/u;

/** `spell`: the driver's, for what is not plain. Throws where placeholders and parameters do not match. */
export function boundText(sql: string, params: readonly SqlValue[], spell: (value: SqlValue) => string): string {
  let text = "";
  let from = 0;
  for (const value of params) {
    const at = sql.indexOf("?", from);
    if (at < 0) throw new Error(`expected ${params.length} placeholders, got fewer in ${sql.slice(0, 200)}`);
    text += sql.slice(from, at);
    if (typeof value === "number") text += spell(value);
    else if (PLAIN.test(value)) text += `'${value}'`;
    else if (WITHOUT_CONTROLS.test(value)) text += `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
    else text += spell(value);
    from = at + 1;
  }
  if (sql.includes("?", from))
    throw new Error(`expected ${params.length} placeholders, got more in ${sql.slice(0, 200)}`);
  return text + sql.slice(from);
}
