// A log that remembers its lines, for tests that say what an operator is told.
import type { Log, LogFields, LogLevel } from "../../src/platform/log.ts";

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export class RecordingLog implements Log {
  readonly lines: LogLine[];
  readonly #fields: LogFields;
  readonly #debugs: boolean;

  /** `debugs` false: whoever asks whether debug lines are wanted hears no, as in production. */
  constructor(lines: LogLine[] = [], fields: LogFields = {}, debugs = true) {
    this.lines = lines;
    this.#fields = fields;
    this.#debugs = debugs;
  }

  debug(message: string, fields?: LogFields): void {
    this.#add("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#add("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#add("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#add("error", message, fields);
  }
  with(fields: LogFields): RecordingLog {
    return new RecordingLog(this.lines, { ...this.#fields, ...fields }, this.#debugs);
  }
  enabled(level: LogLevel): boolean {
    return this.#debugs || level !== "debug";
  }

  /** "level message", in order. */
  get texts(): string[] {
    return this.lines.map((line) => `${line.level} ${line.message}`);
  }

  #add(level: LogLevel, message: string, fields: LogFields | undefined): void {
    this.lines.push({ level, message, fields: { ...this.#fields, ...fields } });
  }
}
