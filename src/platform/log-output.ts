// Log lines on standard output, by LogTape: one JSON object a line for machines, or text for people. Whoever reads the
// lines may be slow or gone, and may not stop the process: what waits to be written is bounded, and lines beyond that are
// dropped and counted in the next one.
//
// LogTape keeps one configuration a process. It is set once, with one sink that finds the output by the first category, so
// that several logs (tests, several services in one process) do not disturb each other. Levels are ours to check, before
// any work is done.
import { configureSync, getLogger, type Logger, type LogRecord, type LogLevel as TapeLevel } from "@logtape/logtape";
import { BoundedWriter } from "./bounded-writer.ts";
import { LOG_LEVELS, type Log, type LogFields, type LogLevel } from "./log.ts";
import { maskSecrets } from "./secrets.ts";

export interface LogOptions {
  readonly process: string;
  readonly level: LogLevel;
  readonly format: "json" | "text";
  /** Takes a line with its newline. Default: standard output. */
  readonly write?: (line: string) => void;
}

interface Output {
  readonly process: string;
  readonly format: "json" | "text";
  readonly write: (line: string) => void;
  severity: number;
}

const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const TAPE_LEVELS: Readonly<Record<LogLevel, TapeLevel>> = {
  debug: "debug",
  info: "info",
  warn: "warning",
  error: "error",
};

const outputs = new Map<string, Output>();
let nextOutput = 1;

export function createLog(options: LogOptions): Log & { setLevel(level: LogLevel): void } {
  if (outputs.size === 0) configureTape();
  const id = `lars-${nextOutput++}`;
  const output: Output = {
    process: options.process,
    format: options.format,
    write: options.write ?? standardOutput(),
    severity: SEVERITY[options.level],
  };
  outputs.set(id, output);
  const log = new TapeLog(getLogger([id]), output, {});
  return Object.assign(log, {
    setLevel(level: LogLevel) {
      output.severity = SEVERITY[level];
    },
  });
}

function configureTape(): void {
  configureSync({
    reset: true,
    sinks: { lars: (record) => dispatch(record) },
    loggers: [
      { category: [], sinks: ["lars"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], parentSinks: "override", lowestLevel: "error" },
    ],
  });
}

function dispatch(record: LogRecord): void {
  const output = outputs.get(record.category[0] ?? "");
  if (output === undefined) return;
  output.write(output.format === "json" ? jsonLine(record, output) : textLine(record, output));
}

class TapeLog implements Log {
  readonly #logger: Logger;
  readonly #output: Output;
  readonly #fields: LogFields;

  constructor(logger: Logger, output: Output, fields: LogFields) {
    this.#logger = logger;
    this.#output = output;
    this.#fields = fields;
  }

  debug(message: string, fields?: LogFields): void {
    this.#write("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#write("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }

  with(fields: LogFields): Log {
    return new TapeLog(this.#logger, this.#output, { ...this.#fields, ...fields });
  }

  enabled(level: LogLevel): boolean {
    return SEVERITY[level] >= this.#output.severity;
  }

  #write(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (SEVERITY[level] < this.#output.severity) return;
    // `emit` takes the message as it is; the other methods would read braces in it as placeholders.
    this.#logger.emit({
      level: TAPE_LEVELS[level],
      message: [message],
      rawMessage: message,
      timestamp: Date.now(),
      properties: fields === undefined ? this.#fields : { ...this.#fields, ...fields },
    });
  }
}

function levelName(level: TapeLevel): LogLevel {
  return LOG_LEVELS.find((name) => TAPE_LEVELS[name] === level) ?? "error";
}

function jsonLine(record: LogRecord, output: Output): string {
  const { component, requestId, ...fields } = record.properties;
  const line = {
    ts: new Date(record.timestamp).toISOString(),
    level: levelName(record.level),
    process: output.process,
    component,
    message: bounded(String(record.rawMessage)),
    requestId,
    fields: Object.keys(fields).length === 0 ? undefined : plain(fields),
  };
  return `${JSON.stringify(line)}\n`;
}

function textLine(record: LogRecord, output: Output): string {
  const { component, ...fields } = record.properties;
  let line = `${new Date(record.timestamp).toISOString()} ${levelName(record.level).toUpperCase().padEnd(5)} ${output.process}`;
  if (component !== undefined) line += `.${String(component)}`;
  line += ` ${bounded(String(record.rawMessage))}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = plain(value);
    line += ` ${name}=${typeof shown === "string" && /^[^\s"=]+$/.test(shown) ? shown : JSON.stringify(shown)}`;
  }
  // Input ends up in lines; it must not move a terminal's cursor or fake a line.
  return `${line.replace(/\p{Cc}/gu, escaped)}\n`;
}

function escaped(control: string): string {
  return control === "\n" ? "\\n" : `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

const MAX_DEPTH = 6;
const MAX_ITEMS = 100;
const MAX_TEXT = 4096;

/** A value as JSON can hold it, bounded: errors as name, message, code and causes; big integers as text. */
function plain(value: unknown, depth = 0): unknown {
  switch (typeof value) {
    case "string":
      return bounded(value);
    case "bigint":
      return value.toString();
    case "function":
    case "symbol":
      return undefined;
    case "object":
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (depth >= MAX_DEPTH) return "…";
  if (value instanceof Error) return plainError(value, depth);
  if (value instanceof Date) return value;
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => plain(item, depth + 1));
  if (value instanceof Map) return plain([...value.entries()], depth);
  if (value instanceof Set) return plain([...value], depth);
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  const copy: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value).slice(0, MAX_ITEMS)) copy[name] = plain(member, depth + 1);
  return copy;
}

/** No stack (it is the reader's third question, and long), except where there is no better message: bugs. */
function plainError(error: Error, depth: number): Record<string, unknown> {
  const code = (error as { code?: unknown }).code;
  return {
    name: error.name,
    message: bounded(error.message),
    code: typeof code === "string" || typeof code === "number" ? code : undefined,
    at: BUGS.includes(error.name) ? firstFrames(error.stack) : undefined,
    cause: error.cause === undefined ? undefined : plain(error.cause, depth + 1),
    errors: error instanceof AggregateError ? plain(error.errors, depth + 1) : undefined,
  };
}

const BUGS: readonly string[] = ["Error", "TypeError", "RangeError", "ReferenceError", "SyntaxError"];

function firstFrames(stack: string | undefined): string | undefined {
  const frames = stack?.split("\n").filter((line) => /^\s*at /.test(line));
  return frames === undefined || frames.length === 0
    ? undefined
    : frames
        .slice(0, 5)
        .map((line) => line.trim())
        .join(" | ");
}

function bounded(text: string): string {
  return maskSecrets(text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);
}

const MAX_WAITING = 1_048_576;
let standardWriter: BoundedWriter | undefined;

function standardOutput(): (line: string) => void {
  if (standardWriter === undefined) {
    // A reader that went away is no reason to die: lines are lost, the service goes on.
    process.stdout.on("error", () => {});
    standardWriter = new BoundedWriter((text, done) => process.stdout.write(text, done), droppedNotice, MAX_WAITING);
  }
  const writer = standardWriter;
  return (line) => writer.write(line);
}

function droppedNotice(dropped: number): string {
  const message = "log lines were dropped: standard output is not read fast enough";
  return `${JSON.stringify({ ts: new Date().toISOString(), level: "warn", message, fields: { dropped } })}\n`;
}

/** Resolves when every line so far has left the process; never when nobody reads them. */
export function logsWritten(): Promise<void> {
  return standardWriter?.written() ?? Promise.resolve();
}
