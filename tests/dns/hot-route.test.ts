// The hot way and the general way of GET /v1/routes/{modid}/{cmdid} are one call: an unused query sends it the general
// way, so both can be asked and compared.
import { describe, expect, spyOn, test } from "bun:test";
import { ADMIN, AppRig } from "./app-rig.ts";

async function both(rig: AppRig, path: string, headers: Record<string, string> = {}) {
  const read = async (response: Response) => {
    const all = Object.fromEntries(response.headers);
    const { "x-request-id": requestId, ...rest } = all;
    return { status: response.status, requestId, headers: rest, body: await response.text() };
  };
  return {
    hot: await read(await rig.get(path, headers)),
    general: await read(await rig.get(`${path}?minRevision=0`, headers)),
  };
}

describe("the hot way answers as the general way does", () => {
  test.each(["/v1/routes/1/1", "/v1/routes/4294967295/-2", "/v1/routes/9/9", "/v1/routes/x/1", "/v1/routes/1/01"])(
    "%s",
    async (path) => {
      const rig = new AppRig();
      await rig.routes.poll();
      await rig.done("PUT", "/v1/routes/1/1", {
        name: "pay",
        policy: "random",
        hosts: [{ ip: "10.0.0.1", port: 80, zone: "é" }],
      });
      await rig.done("PUT", "/v1/routes/-1/-2", { hosts: [{ ip: "200.0.0.1", port: 80, state: "down" }] });
      const { hot, general } = await both(rig, path, { "x-request-id": "mine-1" });
      expect(hot).toEqual(general);
      expect(hot.requestId).toBe("mine-1");
    },
  );

  test("a change of the route, or only of its name, is in the next answer", async () => {
    const rig = new AppRig();
    await rig.routes.poll();
    await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
    const first = await both(rig, "/v1/routes/1/1");
    await rig.done("PUT", "/v1/modules/1", { name: "shop" });
    const named = await both(rig, "/v1/routes/1/1");
    await rig.done("PATCH", "/v1/routes/1/1/hosts/10.0.0.1:80", { weight: 7 });
    const changed = await both(rig, "/v1/routes/1/1");
    for (const { hot, general } of [first, named, changed]) expect(hot.body).toBe(general.body);
    expect(new Set([first, named, changed].map(({ hot }) => hot.headers.etag)).size).toBe(3);
    expect(JSON.parse(named.hot.body)).toMatchObject({ name: "shop" });
    expect(JSON.parse(changed.hot.body)).toMatchObject({ hosts: [{ weight: 7 }] });
  });

  test.each(["as it is", '"1"', '"x"', 'W/"1"', "*", '"1", "2"', "1", ""])(
    "a condition on its tag: %s",
    async (given) => {
      const rig = new AppRig();
      await rig.routes.poll();
      await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
      const tag = (await rig.get("/v1/routes/1/1")).headers.get("etag")!;
      const known = given === "as it is" ? tag : given;
      const { hot, general } = await both(rig, "/v1/routes/1/1", { "if-none-match": known, "x-request-id": "mine" });
      expect(hot).toEqual(general);
      expect(hot.status).toBe(given === "as it is" || given === "*" ? 304 : 200);
    },
  );

  test("a token is asked for wherever reads need one", async () => {
    const rig = new AppRig({ anonymousRead: false });
    await rig.routes.poll();
    await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
    expect((await rig.get("/v1/routes/1/1")).status).toBe(401);
    const wrong = await both(rig, "/v1/routes/1/1", { authorization: "Bearer nobody's" });
    expect(wrong.hot.status).toBe(401);
    expect(wrong.hot.body).toBe(wrong.general.body);
  });

  test("a token that is known is let in without leaving the hot way, and answered the same", async () => {
    const rig = new AppRig({ anonymousRead: false });
    await rig.routes.poll();
    await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
    const authorize = spyOn(rig.access, "authorize");
    const { hot, general } = await both(rig, "/v1/routes/1/1", { authorization: `Bearer ${ADMIN}` });
    expect(hot.status).toBe(200);
    expect(hot).toEqual({ ...general, requestId: hot.requestId });
    // The general one's.
    expect(authorize).toHaveBeenCalledTimes(1);
  });

  test("without a request id one is made, another each time", async () => {
    const rig = new AppRig();
    await rig.routes.poll();
    await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
    const ids = await Promise.all(
      [1, 2].map(async () => (await rig.get("/v1/routes/1/1")).headers.get("x-request-id")),
    );
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(ids[1]).not.toBe(ids[0]);
  });
});
