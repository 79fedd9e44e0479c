// What every command shares: how a dns service is named on the command line, and how an answer is shown.
import type { ArgsDef } from "citty";
import type { ApiTarget } from "./api.ts";

export const DNS_ARGS = {
  dns: {
    type: "string",
    description: "The dns service's HTTP address (or LARS_DNS_URL)",
    default: process.env.LARS_DNS_URL ?? "http://127.0.0.1:7780",
  },
  token: { type: "string", description: "Access token for changes (or LARS_ADMIN_TOKEN)" },
} as const satisfies ArgsDef;

export function dnsOf(args: { dns: string; token?: string | undefined }): ApiTarget {
  return { url: trim(args.dns), token: args.token ?? process.env.LARS_ADMIN_TOKEN };
}

export function trim(url: string): string {
  return url.replace(/\/+$/, "");
}

export function print(value: unknown): void {
  if (value !== undefined) process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}
