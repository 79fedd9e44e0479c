// GET /v1/hosts/{modid}/{cmdid} without a hash key: the pick of callers that have no native client.
import { formatIp } from "../core/endpoint.ts";
import { parseModuleId } from "../core/module-key.ts";
import type { HotAnswer, HotCall } from "../platform/http-hot.ts";
import type { ProblemError } from "../platform/http-problem.ts";
import type { PickAnswer } from "./shard-protocol.ts";

/** `refused`: how the general way explains that there is no host; undefined for what it has to find out itself. */
export function hotPick(
  pick: (modid: number, cmdid: number, keyHash: number) => Promise<PickAnswer>,
  refused: (modid: number, cmdid: number, answer: PickAnswer | Error) => ProblemError | undefined,
): HotCall {
  return {
    method: "GET",
    path: "/v1/hosts/:modid/:cmdid",
    answer({ params }): Promise<HotAnswer | ProblemError | undefined> | undefined {
      const modid = parseModuleId(params[0]!);
      const cmdid = parseModuleId(params[1]!);
      if (modid === undefined || cmdid === undefined) return undefined;
      return pick(modid, cmdid, 0).then(
        (answer) =>
          answer.outcome === "host"
            ? { body: `{"modid":${modid},"cmdid":${cmdid},"ip":"${formatIp(answer.ip)}","port":${answer.port}}` }
            : refused(modid, cmdid, answer),
        (error: unknown) => refused(modid, cmdid, error as Error),
      );
    },
  };
}
