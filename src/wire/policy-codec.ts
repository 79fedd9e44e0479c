// PolicyChoice, a part of GetRouteResponse: how a module wants to be balanced. Rare and small, so both directions
// allocate. What is read is judged by core/policy-choice.ts when the whole message is there: a field that occurs again
// adds to what was read before, as protobuf merges.
import { POLICIES, type PolicyChoice, STEERING_PARAMETERS } from "../core/policies.ts";
import { choiceEntries, hasChoice } from "../core/policy-choice.ts";
import type { ProtoReader } from "./proto-reader.ts";
import { putDouble, putVarint, varintBytes } from "./proto-writer.ts";

/** What was read so far; names may be any, values any double. */
export interface PolicyFields {
  name: string;
  readonly parameters: (readonly [name: string, value: number])[];
}

/** Reads a PolicyChoice the reader has entered, over what `into` holds. */
export function readPolicy(r: ProtoReader, into: PolicyFields): void {
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 10:
        into.name = r.text();
        break;
      case 18: {
        const outer = r.enter();
        into.parameters.push(readEntry(r));
        r.leave(outer);
        break;
      }
      default:
        r.skip(tag);
    }
  }
}

function readEntry(r: ProtoReader): readonly [string, number] {
  let name = "";
  let value = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    if (tag === 10) name = r.text();
    else if (tag === 17) value = r.double();
    else r.skip(tag);
  }
  return [name, value];
}

/** A map entry: key and value are always written. Names are ASCII, and shorter than 128. */
const entryBytes = (name: string): number => 2 + name.length + 9;

/** The most {@link policyFieldBytes} gives: the longest name and every parameter. */
export const MAX_POLICY_FIELD_BYTES =
  5 +
  2 +
  Math.max(...POLICIES.map((name) => name.length)) +
  Object.keys(STEERING_PARAMETERS).reduce((sum, name) => sum + 2 + entryBytes(name), 0);

function bodyBytes(choice: PolicyChoice): number {
  return choiceEntries(choice).reduce((sum, [name]) => sum + 2 + entryBytes(name), 2 + choice.name.length);
}

/** What field 17 takes with its tag; 0 when there is no choice. */
export function policyFieldBytes(choice: PolicyChoice): number {
  if (!hasChoice(choice)) return 0;
  const body = bodyBytes(choice);
  return 2 + varintBytes(body) + body;
}

/** Writes field 17, nothing when there is no choice. Returns where it ends. */
export function putPolicyField(out: Uint8Array, offset: number, choice: PolicyChoice): number {
  if (!hasChoice(choice)) return offset;
  out[offset] = 138;
  out[offset + 1] = 1;
  let pos = putVarint(out, offset + 2, bodyBytes(choice));
  pos = putAscii(out, pos, choice.name);
  for (const [name, value] of choiceEntries(choice)) {
    out[pos] = 18;
    out[pos + 1] = entryBytes(name);
    pos = putAscii(out, pos + 2, name);
    out[pos] = 17;
    pos = putDouble(out, pos + 1, value);
  }
  return pos;
}

/** Field 1, a string. */
function putAscii(out: Uint8Array, offset: number, text: string): number {
  out[offset] = 10;
  out[offset + 1] = text.length;
  for (let i = 0; i < text.length; i++) out[offset + 2 + i] = text.charCodeAt(i);
  return offset + 2 + text.length;
}
