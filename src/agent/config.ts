// Every key of the agent's configuration. [loadbalance] keeps the original's names and units (seconds), so that an old
// configuration can be carried over by hand without translation.
import * as z from "zod";
import { parseIp } from "../core/endpoint.ts";
import { type ParameterSpec, POLICIES, STEERING_PARAMETERS, type SteeringParameter } from "../core/policies.ts";
import { type ConfigKey, type ConfigOf, defineConfig, key } from "../platform/config-schema.ts";
import {
  addressList,
  clientTlsSection,
  dataSection,
  listenHost,
  listenPort,
  logSection,
  overTls,
  securitySection,
  tlsSection,
} from "../platform/config-sections.ts";

const count = z.int().min(1).max(1_000_000);
const ratio = z.number().min(0).max(1);
const seconds = z.int().min(1).max(86_400);

/** Every key of [steering], from the one list that the dns service's API checks a module's own numbers against. */
const steeringKeys = Object.fromEntries(
  Object.entries<ParameterSpec>(STEERING_PARAMETERS).map(([name, { min, max, whole, ...spec }]) => {
    const number = whole === true ? z.int() : z.number();
    return [name, key(number.min(min).max(max), { ...spec, reload: true })];
  }),
) as Record<SteeringParameter, ConfigKey<number>>;

export const agentConfig = defineConfig("agent", {
  udp: {
    doc: "Callers over UDP. Shard i listens on port + i and runs in a thread of its own.",
    keys: {
      host: listenHost("callers"),
      port: key(
        z
          .int()
          .min(1)
          .max(65535 - 63),
        {
          doc: "Port of the first shard.",
          default: 8888,
          unit: "port number",
        },
      ),
      shards: key(z.int().min(1).max(64), {
        doc: "Threads that serve callers, one port each. The original's clients expect 3.",
        default: 3,
        unit: "threads",
        cost: "a few MB of memory each; more than the machine has cores only adds switching",
      }),
    },
  },
  http: {
    doc: "HTTP/JSON, for callers without a native client.",
    keys: { host: listenHost("HTTP"), port: listenPort("HTTP", 8880) },
  },
  resolver: {
    doc: "Real DNS (A, SRV, TXT) over UDP and TCP, for callers that can only look names up: c<cmdid>.m<modid>.lars.",
    keys: {
      host: listenHost("DNS queries"),
      port: listenPort("DNS queries", 8653),
      answers_per_second: key(z.int().min(1).max(1_000_000), {
        doc: "UDP answers one address gets at most, loopback excepted; beyond it half of the queries are told to use TCP.",
        default: 100,
        unit: "answers/s",
        reload: true,
        cost: "whoever forges senders can have more sent to somebody else",
      }),
    },
  },
  tls: tlsSection("They are asked for over HTTP, since the agent knows no tokens."),
  client_tls: clientTlsSection,
  security: securitySection,
  dnsserver: {
    doc: "The dns service, which tells the routes.",
    keys: {
      addresses: addressList("Instances of the dns service, tried in turn.", ["127.0.0.1:7778"], { reload: true }),
      tls: overTls("the dns service"),
      connect_timeout_ms: key(z.int().min(50).max(60_000), {
        doc: "How long to wait for a connection before the next address is tried.",
        default: 2000,
        unit: "ms",
        cost: "a dead instance is left later",
      }),
      response_timeout_ms: key(z.int().min(50).max(60_000), {
        doc: "How long requests may stay unanswered before the connection counts as dead and the next address is tried.",
        default: 1000,
        unit: "ms",
        reload: true,
        cost: "a hanging instance is left later; lowering it leaves one that is only busy",
      }),
      probe_interval_ms: key(z.int().min(100).max(600_000), {
        doc: "How often an instance that says nothing is asked for a route that is known already, to see that it is still there.",
        default: 2000,
        unit: "ms",
        reload: true,
        cost: "a hanging instance is left later; lowering it costs a request and an answer of some 20 bytes each time",
      }),
    },
  },
  reporter: {
    doc: "The report service, which collects how calls went.",
    keys: {
      addresses: addressList("Instances of the report service, tried in turn.", ["127.0.0.1:7779"], { reload: true }),
      tls: overTls("the report service"),
      flush_interval_ms: key(z.int().min(100).max(60_000), {
        doc: "How often totals that changed are sent.",
        default: 1000,
        unit: "ms",
        reload: true,
        cost: "statistics are older; lowering it sends more frames",
      }),
      resend_interval_s: key(z.int().min(1).max(86_400), {
        doc: "How often totals are sent again although they did not change, so that a frame lost is made up for.",
        default: 30,
        unit: "s",
        reload: true,
        cost: "what a lost frame held is missing for longer",
      }),
      caller: key(
        z
          .string()
          .refine((text) => text === "" || parseIp(text) !== undefined)
          .meta({ description: "empty, or an IPv4 address" }),
        {
          doc: "The address under which this agent's statistics are kept. Empty: the address of its first outward interface.",
          default: "",
        },
      ),
    },
  },
  registrations: {
    doc: "Services of this machine that register themselves through the agent.",
    keys: {
      addresses: addressList("HTTP addresses of the dns service, where registrations go; tried in turn.", [
        "127.0.0.1:7780",
      ]),
      tls: overTls("the dns service's HTTP"),
      token: key(
        z
          .string()
          .max(256)
          .regex(/^[\x21-\x7e]*$/)
          .meta({ description: "empty, or up to 256 printable characters without spaces" }),
        {
          doc: "Token of the role registrar (or above) at the dns service. What it may register, services of this machine may.",
          default: "",
          secret: true,
          reload: true,
          env: "LARS_AGENT_TOKEN",
        },
      ),
      response_timeout_ms: key(z.int().min(50).max(10_000), {
        doc: "How long one instance of the dns service may take to answer before the next is asked.",
        default: 900,
        unit: "ms",
        reload: true,
        cost: "a hanging instance is left later",
      }),
      max: key(z.int().min(1).max(10_000), {
        doc: "Registrations kept at most; further ones are refused.",
        default: 1000,
        unit: "registrations",
        reload: true,
        cost: "about 1 KB of memory each, a check every few seconds, and three renewals at the dns service per TTL",
      }),
      drain_grace_ms: key(z.int().min(0).max(60_000), {
        doc: "How long a service that is removed is draining (no caller is sent there anew) before its host leaves. At the end of the agent itself 5000 at most.",
        default: 3000,
        unit: "ms",
        reload: true,
        cost: "services that wait for their removal end later",
      }),
      on_stop: key(z.enum(["drain", "keep"]), {
        doc: "At an orderly end of the agent. drain: its services are drained and removed, and return with the next agent. keep: their leases run on, for an agent that is back within the TTL.",
        default: "drain",
        reload: true,
      }),
      forget_after_s: key(z.int().min(1).max(31_536_000), {
        doc: "A service whose check has not passed for so long is forgotten.",
        default: 86_400,
        unit: "s",
        reload: true,
        cost: "services that are gone for good are checked longer",
      }),
    },
  },
  routes: {
    doc: "What the agent remembers of routes.",
    keys: {
      resolve_timeout_ms: key(z.int().min(1).max(60_000), {
        doc: "How long a caller that asks for a module the agent does not know yet is kept waiting for the dns service's answer.",
        default: 400,
        unit: "ms",
        reload: true,
        cost:
          "the first callers of a module wait longer while no dns service answers; lowering it below what the answer takes on a " +
          "busy machine makes their calls fail",
      }),
      negative_ttl_ms: key(z.int().min(0).max(600_000), {
        doc: "How long a module that does not exist is remembered as such.",
        default: 5000,
        unit: "ms",
        reload: true,
        cost: "a module made meanwhile may be seen later; lowering it lets callers of wrong modules load the dns service",
      }),
      max_modules: key(z.int().min(1).max(10_000_000), {
        doc: "Modules remembered at most, those that do not exist included; the longest unused are forgotten first.",
        default: 100_000,
        unit: "modules",
        cost: "memory: about 1 KB and 200 bytes a host each",
      }),
      max_vanish_share: key(z.number().min(0).max(1), {
        doc:
          "How many of all hosts known may vanish within 30 s without the dns service saying that it is meant; beyond it, and " +
          "always when a whole module vanishes so, the hosts are kept and an alarm is raised. A dns service of C++ never says it.",
        default: 0.5,
        unit: "share of hosts",
        reload: true,
        cost: "more of a table that was emptied by mistake is believed; lowering it keeps hosts that are really gone",
      }),
      max_waiting: key(z.int().min(1).max(1_000_000), {
        doc: 'Callers kept waiting for an answer of the dns service at once; further ones are answered "not known yet" at once.',
        default: 10_000,
        unit: "requests",
        reload: true,
        cost: "about 200 bytes of memory each",
      }),
      forget_after_s: key(z.int().min(1).max(31_536_000), {
        doc: "A module nobody asked for this long is forgotten and no longer watched.",
        default: 3600,
        unit: "s",
        reload: true,
        cost: "memory here and at the dns service for modules nobody uses",
      }),
      snapshot_interval_ms: key(z.int().min(100).max(3_600_000), {
        doc: "How often routes that changed are written to data.dir, from where an agent starts when no dns service answers.",
        default: 5000,
        unit: "ms",
        cost: "an agent started without a dns service knows older routes",
      }),
    },
  },
  zone: {
    doc: "Where this agent runs.",
    keys: {
      name: key(z.string().max(64), { doc: "Its zone, as hosts name theirs. Empty: none.", default: "" }),
    },
  },
  loadbalance: {
    doc: "How a host is chosen. All keys but the first and the last belong to the policy lars: when a host is taken out (overload) and let in again (idle).",
    keys: {
      policy: key(z.enum(POLICIES), {
        doc: 'The policy of modules that name none at the dns service. "lars" is the original\'s rule.',
        default: "adaptive",
        reload: true,
      }),
      probe_num: key(count, {
        doc: "After this many picks in a row the next one tries an overloaded host (1 pick in probe_num + 1).",
        default: 10,
        unit: "picks",
        reload: true,
        cost: "a recovered host is noticed later; lowering it sends more calls to dead hosts",
      }),
      init_succ_cnt: key(count, {
        doc: "Successes a host is credited with when it becomes idle.",
        default: 180,
        unit: "calls",
        reload: true,
        cost: "more failures are needed to take a host out",
      }),
      init_err_cnt: key(count, {
        doc: "Failures a host is charged with when it becomes overloaded.",
        default: 5,
        unit: "calls",
        reload: true,
        cost: "more successes are needed to let a host in again",
      }),
      err_rate: key(ratio, {
        doc: "An idle host whose share of failures, credit included, exceeds this becomes overloaded.",
        default: 0.1,
        unit: "share of calls",
        reload: true,
        cost: "worse hosts stay in",
      }),
      succ_rate: key(ratio, {
        doc: "An overloaded host whose share of successes, charge included, exceeds this becomes idle.",
        default: 0.5,
        unit: "share of calls",
        reload: true,
        cost: "recovered hosts stay out longer",
      }),
      contin_err_limit: key(count, {
        doc: "Failures in a row that make an idle host overloaded.",
        default: 15,
        unit: "calls",
        reload: true,
        cost: "a dead host gets more calls before it is taken out",
      }),
      contin_succ_limit: key(count, {
        doc: "Successes in a row that make an overloaded host idle.",
        default: 15,
        unit: "calls",
        reload: true,
        cost: "recovered hosts stay out longer",
      }),
      window_err_rate: key(ratio, {
        doc: "At the end of a window (idle_timeout), an idle host whose real share of failures reaches this becomes overloaded.",
        default: 0.7,
        unit: "share of calls",
        reload: true,
        cost: "worse hosts stay in",
      }),
      idle_timeout: key(seconds, {
        doc: "Length of the window after which an idle host is judged by its real calls and its counters start afresh.",
        default: 15,
        unit: "s",
        reload: true,
        cost: "old calls count for longer",
      }),
      overload_timeout: key(seconds, {
        doc: "An overloaded host is let in again after this long, whatever was reported.",
        default: 15,
        unit: "s",
        reload: true,
        cost: "recovered hosts that are never probed stay out longer",
      }),
      update_timeout: key(seconds, {
        doc: "A module whose route is older than this is asked for again.",
        default: 15,
        unit: "s",
        reload: true,
        cost: "changes reach the agent later should a push be lost; lowering it loads the dns service",
      }),
    },
  },
  steering: {
    doc: "All policies but lars. A module may have numbers of its own, set at the dns service (policyParameters).",
    keys: steeringKeys,
  },
  log: logSection,
  data: dataSection,
});

export type AgentConfig = ConfigOf<typeof agentConfig>;
