// A few routes to look at, for a database that has none. They name ports of this machine that nothing need listen on:
// Lars tells where to call, it does not call.
import { makeHost } from "../core/assignment.ts";
import { RouteReplica } from "../dns/route-replica.ts";
import { RouteService } from "../dns/route-service.ts";
import { systemClock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { RouteStore } from "../store/route-store.ts";

const LOOPBACK = 0x7f00_0001;

/** Does nothing when there is any route. @throws StoreUnavailable */
export async function importDemoRoutes(store: RouteStore, log: Log): Promise<void> {
  const service = new RouteService({
    store,
    replica: new RouteReplica(),
    clock: systemClock,
    log,
    fullReloadIntervalMs: () => 10_000,
  });
  await service.poll();
  if (service.replica.size > 0) return;
  await service.commit(
    {
      action: "import",
      replace: false,
      names: [{ scope: "modid", id: 1, name: "demo" }],
      routes: [
        {
          modid: 1,
          cmdid: 1,
          name: "demo: three hosts",
          hosts: [9001, 9002, 9003].map((port) => makeHost(LOOPBACK, port)),
        },
        {
          modid: 1,
          cmdid: 2,
          name: "demo: weights and zones",
          hosts: [
            makeHost(LOOPBACK, 9011, { weight: 100, zone: "a" }),
            makeHost(LOOPBACK, 9012, { weight: 300, zone: "b" }),
          ],
        },
      ],
    },
    { who: "up", requestId: "demo" },
  );
}
