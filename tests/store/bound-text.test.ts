// Held against the driver's own formatting, read back by the rules of the language.
import { expect, test } from "bun:test";
import fc from "fast-check";
import mysql, { format } from "mysql2";
import { boundText } from "../../src/store/mysql/bound-text.ts";

const bound = (sql: string, params: (string | number)[]) => boundText(sql, params, (value) => mysql.escape(value));

/** What a server makes of a text in single quotes. */
function read(literal: string): string {
  expect(literal.startsWith("'") && literal.endsWith("'")).toBe(true);
  const escapes: Record<string, string> = { 0: "\0", b: "\b", t: "\t", n: "\n", r: "\r", Z: "\x1a" };
  return literal.slice(1, -1).replace(/\\(.)|''|'/gsu, (found, char: string | undefined) => {
    if (found === "'") throw new Error(`the text ends within ${literal}`);
    return char === undefined ? "'" : (escapes[char] ?? char);
  });
}

test("numbers and plain texts are bound as the driver binds them, and a ? in a text is no placeholder", () => {
  const sql = "INSERT INTO t VALUES (?,?,?)";
  const params = [7, "who?", "地球 🌍"];
  expect(bound(sql, params)).toBe(format(sql, params));
});

test("every text, whatever is in it, is read as itself, and ends where it ends", () => {
  const char = fc.constantFrom("'", "\\", '"', "\0", "\n", "\x1a", "?", ";", "`", "a", "é", "\u0085", "\ud83d\ude00");
  fc.assert(
    fc.property(fc.array(char, { maxLength: 12 }), (chars) => {
      const text = chars.join("");
      expect(read(bound("?", [text]))).toBe(text);
    }),
    { numRuns: 2_000 },
  );
});

test("as many parameters as placeholders, or it is a bug", () => {
  expect(() => bound("? ?", [1])).toThrow("got more");
  expect(() => bound("?", [1, 2])).toThrow("got fewer");
});
