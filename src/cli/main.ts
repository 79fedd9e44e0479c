// `bun run lars …`: what an operator does with routes, from a terminal or a script. Every command is one call of the HTTP
// API; the answer is printed as JSON, which jq and people read.
import { type ArgsDef, type CommandDef, defineCommand, runMain } from "citty";
import { POLICIES } from "../core/policies.ts";
import { readCaFile } from "../platform/tls-material.ts";
import { version } from "../platform/version.ts";
import { openDatabase } from "../store/open.ts";
import { type ApiTarget, CommandError, call, request } from "./api.ts";
import { changes, confirm, revert } from "./changes.ts";
import { DNS_ARGS, dnsOf, print, trim } from "./terminal.ts";
import { token } from "./tokens.ts";

const AGENT_ARGS = {
  agent: {
    type: "string",
    description: "The agent's HTTP address (or LARS_AGENT_URL)",
    default: process.env.LARS_AGENT_URL ?? "http://127.0.0.1:8880",
  },
} as const satisfies ArgsDef;

const REPORT_ARGS = {
  report: {
    type: "string",
    description: "The report service's HTTP address (or LARS_REPORT_URL)",
    default: process.env.LARS_REPORT_URL ?? "http://127.0.0.1:7781",
  },
  token: { type: "string", description: "Access token, where reads need one (or LARS_ADMIN_TOKEN)" },
} as const satisfies ArgsDef;

const MODULE_ARG = {
  module: { type: "positional", description: "modid.cmdid", required: true },
} as const satisfies ArgsDef;
const HOST_ARG = { host: { type: "positional", description: "ip:port", required: true } } as const satisfies ArgsDef;

function modulePath(module: string): string {
  const match = /^(-?\d+)[./](-?\d+)$/.exec(module);
  if (match === null) throw new CommandError(`module is "${module}"; expected modid.cmdid, like 1.1`);
  return `/v1/routes/${match[1]}/${match[2]}`;
}

function parseHost(text: string): { ip: string; port: number } {
  const match = /^([\d.]+):(\d+)$/.exec(text);
  if (match === null) throw new CommandError(`host is "${text}"; expected ip:port, like 10.0.0.1:8000`);
  return { ip: match[1]!, port: Number(match[2]) };
}

function numberOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new CommandError(`--${name} is "${text}"; expected a whole number`);
  return Number(text);
}

/** Only what was given: an absent option is no value. */
function present<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}

const HOST_OPTIONS = {
  weight: { type: "string", description: "Share of picks relative to the others (1 to 10000, 100 when not told)" },
  zone: { type: "string", description: "Where the host runs" },
  state: { type: "string", description: "up, draining (no new picks) or down" },
} as const satisfies ArgsDef;

const routes = defineCommand({
  meta: { name: "routes", description: "List routes" },
  args: {
    ...DNS_ARGS,
    q: { type: "string", description: "Part of a name, of modid.cmdid or of ip:port" },
    modid: { type: "string", description: "Only this modid" },
    limit: { type: "string", description: "At most so many (1000)" },
    after: { type: "string", description: 'Go on after this module: the "next" of the page before' },
  },
  async run({ args }) {
    const query = new URLSearchParams(
      present({ q: args.q, modid: args.modid, limit: args.limit, after: args.after }) as Record<string, string>,
    );
    print(await call(dnsOf(args), "GET", `/v1/routes?${query}`));
  },
});

const get = defineCommand({
  meta: { name: "get", description: "Show one route" },
  args: { ...MODULE_ARG, ...DNS_ARGS },
  async run({ args }) {
    print(await call(dnsOf(args), "GET", modulePath(args.module)));
  },
});

const addHost = defineCommand({
  meta: { name: "add", description: "Add a host to a route" },
  args: { ...MODULE_ARG, ...HOST_ARG, ...HOST_OPTIONS, ...DNS_ARGS },
  async run({ args }) {
    const host = present({
      ...parseHost(args.host),
      weight: numberOf("weight", args.weight),
      zone: args.zone,
      state: args.state,
    });
    print(await call(dnsOf(args), "POST", `${modulePath(args.module)}/hosts`, host));
  },
});

const setHost = defineCommand({
  meta: { name: "set", description: "Change a host's weight, zone or state" },
  args: { ...MODULE_ARG, ...HOST_ARG, ...HOST_OPTIONS, ...DNS_ARGS },
  async run({ args }) {
    const patch = present({ weight: numberOf("weight", args.weight), zone: args.zone, state: args.state });
    print(await call(dnsOf(args), "PATCH", `${modulePath(args.module)}/hosts/${args.host}`, patch));
  },
});

const removeHost = defineCommand({
  meta: { name: "remove", description: "Remove a host from a route" },
  args: { ...MODULE_ARG, ...HOST_ARG, ...DNS_ARGS },
  async run({ args }) {
    print(await call(dnsOf(args), "DELETE", `${modulePath(args.module)}/hosts/${args.host}`));
  },
});

const host = defineCommand({
  meta: { name: "host", description: "Add, change or remove a host" },
  subCommands: { add: addHost, set: setHost, remove: removeHost },
});

const removeRoute = defineCommand({
  meta: { name: "remove", description: "Remove a route with all its hosts" },
  args: { ...MODULE_ARG, ...DNS_ARGS },
  async run({ args }) {
    print(await call(dnsOf(args), "DELETE", modulePath(args.module)));
  },
});

/** Every `--set name=value`; the argument parser keeps the last of equal options only. */
function settings(rawArgs: readonly string[]): Record<string, number> {
  const texts = rawArgs.flatMap((arg, i) =>
    arg === "--set" ? [rawArgs[i + 1] ?? ""] : arg.startsWith("--set=") ? [arg.slice("--set=".length)] : [],
  );
  return Object.fromEntries(
    texts.map((text) => {
      const match = /^(\w+)=(-?\d+(?:\.\d+)?)$/.exec(text);
      if (match === null) throw new CommandError(`--set is "${text}"; expected name=number, like decay=2`);
      return [match[1]!, Number(match[2])];
    }),
  );
}

interface StoredRoute {
  readonly hosts: readonly object[];
  readonly policy?: string;
  readonly policyParameters?: object;
}

const POLICY_ATTEMPTS = 5;

/** The API puts a route whole, so the hosts go back as they were read, on condition that they still are so. */
async function putPolicy(target: ApiTarget, path: string, change: object): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const { json, tag = "*" } = await request(target, "GET", path);
    const { hosts } = json as StoredRoute;
    try {
      return (await request(target, "PUT", path, { hosts, ...change }, { "if-match": tag })).json;
    } catch (error) {
      const isLate = error instanceof CommandError && error.status === 412;
      if (!isLate || attempt === POLICY_ATTEMPTS) throw error;
    }
  }
}

const policy = defineCommand({
  meta: { name: "policy", description: "Show or choose how agents balance a module" },
  args: {
    ...MODULE_ARG,
    name: { type: "positional", description: `${POLICIES.join(", ")}; none: show it`, required: false },
    set: {
      type: "string",
      description: "name=value: what the module has other than the agents' [steering]; may be repeated",
    },
    clear: { type: "boolean", description: "Take the choice away: each agent's own default" },
    ...DNS_ARGS,
  },
  async run({ args, rawArgs }) {
    const path = modulePath(args.module);
    const policyParameters = settings(rawArgs);
    if (args.clear === true) {
      if (args.name !== undefined || args.set !== undefined)
        throw new CommandError("--clear takes the whole choice away; give it without a name and without --set");
      print(await putPolicy(dnsOf(args), path, { policy: "" }));
    } else if (args.name !== undefined) {
      print(await putPolicy(dnsOf(args), path, { policy: args.name, policyParameters }));
    } else {
      if (args.set !== undefined) throw new CommandError("--set needs the policy's name before it");
      const { policy: name = "", policyParameters: own = {} } = (await call(dnsOf(args), "GET", path)) as StoredRoute;
      print({ policy: name, policyParameters: own });
    }
  },
});

const exportAll = defineCommand({
  meta: { name: "export", description: "Print everything as JSON that `import` takes" },
  args: DNS_ARGS,
  async run({ args }) {
    print(await call(dnsOf(args), "GET", "/v1/export"));
  },
});

const importAll = defineCommand({
  meta: { name: "import", description: "Import routes from a JSON file, as one change" },
  args: {
    file: { type: "positional", description: 'The file, "-" for standard input', required: true },
    "dry-run": { type: "boolean", description: "Write nothing, print what would change" },
    replace: { type: "boolean", description: "Remove routes that the file does not mention" },
    ...DNS_ARGS,
  },
  async run({ args }) {
    const file = Bun.file(args.file === "-" ? "/dev/stdin" : args.file);
    const text = await file.text().catch((error: unknown) => {
      throw new CommandError(`${args.file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    });
    const query = new URLSearchParams({
      dryRun: String(args["dry-run"] === true),
      replace: String(args.replace === true),
    });
    print(await call(dnsOf(args), "POST", `/v1/import?${query}`, text));
  },
});

const agents = defineCommand({
  meta: { name: "agents", description: "List the agents connected to a dns service" },
  args: DNS_ARGS,
  async run({ args }) {
    print(await call(dnsOf(args), "GET", "/v1/agents"));
  },
});

const pick = defineCommand({
  meta: { name: "pick", description: "Ask the agent which host to call now" },
  args: { ...MODULE_ARG, ...AGENT_ARGS },
  async run({ args }) {
    print(await call({ url: trim(args.agent) }, "GET", modulePath(args.module).replace("/routes/", "/hosts/")));
  },
});

const verdicts = defineCommand({
  meta: { name: "verdicts", description: "Show what the agent thinks of every host of a module" },
  args: { ...MODULE_ARG, ...AGENT_ARGS },
  async run({ args }) {
    print(await call({ url: trim(args.agent) }, "GET", modulePath(args.module)));
  },
});

const status = defineCommand({
  meta: { name: "status", description: "Show how the calls of every host went" },
  args: {
    ...REPORT_ARGS,
    modid: { type: "string", description: "Only this modid" },
    cmdid: { type: "string", description: "Only this cmdid" },
    limit: { type: "string", description: "At most so many" },
  },
  async run({ args }) {
    const query = new URLSearchParams(
      present({ modid: args.modid, cmdid: args.cmdid, limit: args.limit }) as Record<string, string>,
    );
    print(
      await call(
        { url: trim(args.report), token: args.token ?? process.env.LARS_ADMIN_TOKEN },
        "GET",
        `/v1/status?${query}`,
      ),
    );
  },
});

const migrate = defineCommand({
  meta: {
    name: "migrate",
    description: "Make or adopt the tables of a database (the services do this too as they start)",
  },
  args: {
    database: { type: "positional", description: "sqlite:FILE or mysql://… (or LARS_DATABASE_URL)", required: false },
  },
  async run({ args }) {
    const url = args.database ?? process.env.LARS_DATABASE_URL;
    if (url === undefined) throw new CommandError("no database named: give its URL, or set LARS_DATABASE_URL");
    const tlsCa = readCaFile("LARS_DATABASE_CA_FILE", process.env.LARS_DATABASE_CA_FILE ?? "");
    const database = await openDatabase(url, { tlsCa });
    try {
      await database.migrate();
    } finally {
      await database.close();
    }
    process.stdout.write("migrated\n");
  },
});

const main = defineCommand({
  meta: { name: "lars", version, description: "Routes, hosts and statistics from the command line" },
  subCommands: {
    routes,
    get,
    host,
    policy,
    remove: removeRoute,
    export: exportAll,
    import: importAll,
    changes,
    revert,
    confirm,
    agents,
    pick,
    verdicts,
    status,
    token,
    migrate,
  },
});

/** Errors a person caused are one line; citty would print a stack. */
function withPlainErrors(command: CommandDef<never>): void {
  const run = command.run;
  if (run !== undefined) {
    command.run = async (context) => {
      try {
        await run(context);
      } catch (error) {
        process.stderr.write(`lars: ${error instanceof Error ? error.message : String(error)}\n`);
        process.exit(1);
      }
    };
  }
  for (const sub of Object.values(command.subCommands ?? {})) withPlainErrors(sub as unknown as CommandDef<never>);
}

withPlainErrors(main as unknown as CommandDef<never>);
await runMain(main);
