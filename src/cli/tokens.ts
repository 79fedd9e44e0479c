// `lars token …`: access tokens are made, listed and taken back. What `create` prints is the only time the secret is seen.
import { defineCommand } from "citty";
import { ROLES } from "../core/principal.ts";
import { CommandError, call } from "./api.ts";
import { DNS_ARGS, dnsOf, print } from "./terminal.ts";

const create = defineCommand({
  meta: { name: "create", description: "Make an access token; it is shown this once" },
  args: {
    name: { type: "positional", description: "Who it is for; stands in the change log", required: true },
    role: { type: "string", description: `What it may do: ${ROLES.join(", ")}`, required: true },
    modules: {
      type: "string",
      description: "For a registrar: the modules it may register hosts of, like 1.1,2.* (modid.cmdid or modid.*)",
    },
    ...DNS_ARGS,
  },
  async run({ args }) {
    if (!(ROLES as readonly string[]).includes(args.role))
      throw new CommandError(`--role is "${args.role}"; expected one of ${ROLES.join(", ")}`);
    const modules = args.modules?.split(",").map((module) => module.trim());
    const body = { name: args.name, role: args.role, ...(modules === undefined ? {} : { modules }) };
    print(await call(dnsOf(args), "POST", "/v1/tokens", body));
  },
});

const list = defineCommand({
  meta: { name: "list", description: "List the access tokens, without their secrets" },
  args: DNS_ARGS,
  async run({ args }) {
    print(await call(dnsOf(args), "GET", "/v1/tokens"));
  },
});

const revoke = defineCommand({
  meta: { name: "revoke", description: "Take an access token back" },
  args: { id: { type: "positional", description: "Its id, as `list` shows it", required: true }, ...DNS_ARGS },
  async run({ args }) {
    await call(dnsOf(args), "DELETE", `/v1/tokens/${encodeURIComponent(args.id)}`);
    print({ revoked: args.id });
  },
});

export const token = defineCommand({
  meta: { name: "token", description: "Make, list or revoke access tokens" },
  subCommands: { create, list, revoke },
});
