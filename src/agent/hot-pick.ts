// GET /v1/hosts/{modid}/{cmdid}, and with a hash key that needs no escape: the pick of callers that have no native client. What is picked in
// this thread is answered before the call returns: behind Bun's server a promise alone makes an answer 3 to 7 us dearer, for
// it then keeps the request and writes each answer by itself. (Behind the front a promise costs next to nothing.)
import { formatIp } from "../core/endpoint.ts";
import { hashText } from "../core/hash.ts";
import { parseModuleId } from "../core/module-key.ts";
import type { HotAnswer, HotCall } from "../platform/http-hot.ts";
import type { ProblemError } from "../platform/http-problem.ts";
import type { PickAnswer } from "./shard-protocol.ts";

const HASH_KEY = /^hashKey=([A-Za-z0-9._~-]{1,1024})$/;

type Answered = HotAnswer | ProblemError | undefined;

/** `refused`: how the general way explains that there is no host; undefined for what it has to find out itself. */
export function hotPick(
  pick: (modid: number, cmdid: number, keyHash: number) => PickAnswer | Promise<PickAnswer>,
  refused: (modid: number, cmdid: number, answer: PickAnswer | Error) => ProblemError | undefined,
): HotCall {
  const answered = (modid: number, cmdid: number, answer: PickAnswer): Answered => {
    if (answer.outcome !== "host") return refused(modid, cmdid, answer);
    const body = `{"modid":${modid},"cmdid":${cmdid},"ip":"${formatIp(answer.ip)}","port":${answer.port}}`;
    return { body, bytes: body.length };
  };
  return {
    method: "GET",
    path: "/v1/hosts/:modid/:cmdid",
    takesQuery: true,
    answer({ params, query }): Answered | Promise<Answered> {
      const modid = parseModuleId(params[0]!);
      const cmdid = parseModuleId(params[1]!);
      if (modid === undefined || cmdid === undefined) return undefined;
      const key = query === "" ? undefined : HASH_KEY.exec(query)?.[1];
      if (query !== "" && key === undefined) return undefined;
      const picked = pick(modid, cmdid, key === undefined ? 0 : hashText(key));
      if (!(picked instanceof Promise)) return answered(modid, cmdid, picked);
      return picked.then(
        (answer) => answered(modid, cmdid, answer),
        (error: unknown) => refused(modid, cmdid, error as Error),
      );
    },
  };
}
