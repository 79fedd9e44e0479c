// `lars changes`, `lars revert`, `lars confirm`: what was done to the routes, and what to do about it.
import { defineCommand } from "citty";
import { CommandError, call } from "./api.ts";
import { DNS_ARGS, dnsOf, print } from "./terminal.ts";

function changePath(revision: string): string {
  if (!/^[1-9]\d{0,15}$/.test(revision))
    throw new CommandError(`revision is "${revision}"; expected a whole number, as \`lars changes\` shows it`);
  return `/v1/changes/${revision}`;
}

const REVISION_ARG = {
  revision: { type: "positional", description: "The change's revision, as `lars changes` shows it", required: true },
} as const;

export const changes = defineCommand({
  meta: { name: "changes", description: "Show the change log, or one change" },
  args: {
    revision: { type: "positional", description: "Only the change of this revision", required: false },
    ...DNS_ARGS,
    after: { type: "string", description: "Only after this revision" },
    limit: { type: "string", description: "At most so many" },
  },
  async run({ args: { revision, after, limit, ...args } }) {
    if (revision !== undefined) {
      if (after !== undefined || limit !== undefined)
        throw new CommandError("one change is asked for by its revision alone; leave --after and --limit out");
      print(await call(dnsOf(args), "GET", changePath(revision)));
      return;
    }
    const query = new URLSearchParams();
    if (after !== undefined) query.set("after", after);
    if (limit !== undefined) query.set("limit", limit);
    print(await call(dnsOf(args), "GET", `/v1/changes?${query}`));
  },
});

export const revert = defineCommand({
  meta: { name: "revert", description: "Undo a change, unless something of it was changed since" },
  args: { ...REVISION_ARG, ...DNS_ARGS },
  async run({ args }) {
    print(await call(dnsOf(args), "POST", `${changePath(args.revision)}/revert`));
  },
});

export const confirm = defineCommand({
  meta: { name: "confirm", description: "Say that the hosts that vanished with a change were meant to" },
  args: { ...REVISION_ARG, ...DNS_ARGS },
  async run({ args }) {
    print(await call(dnsOf(args), "POST", `${changePath(args.revision)}/confirm`));
  },
});
