// A dns service, an agent with the policy in question, and groups of scenarios played on them one after the other. One
// thread drives all callers of a group by a timer of one millisecond; the agent's shards are threads of its own process.
import type { ModuleKey } from "../../../src/core/module-key.ts";
import type { PolicyName } from "../../../src/core/policies.ts";
import { shardOf } from "../../../src/core/shard-map.ts";
import { eventually } from "../../support/eventually.ts";
import { type Lars, startLars, sumMetric } from "../../support/lars-processes.ts";
import type { CallLog } from "../call-log.ts";
import type { Scenario } from "../scenario.ts";
import { AgentLink } from "./agent-link.ts";
import { Histogram, type Times } from "./histogram.ts";
import { type Mishaps, RealRun } from "./real-run.ts";
import { RouteEditor } from "./route-editor.ts";
import { stretch, unstretch } from "./stretch.ts";

const SHARDS = 3;
const TICK_MS = 1;
const FIRST_MODID = 1000;
/** A group that is not over this long after its plan is a defect of the driver. */
const PATIENCE_MS = 10_000;

export interface RealOutcome {
  readonly scenario: Scenario;
  readonly log: CallLog;
  readonly mishaps: Mishaps;
  readonly routeFailures: readonly string[];
}

/** How well the driver kept up, for those who read the figures. */
export interface GroupOutcome {
  readonly outcomes: readonly RealOutcome[];
  readonly seconds: number;
  /** Calls a second that the scenarios ask for at most. */
  readonly rate: number;
  readonly lag: Times;
  readonly picks: Times;
  /** Of one core. */
  readonly driverCpuShare: number;
  /** Reports that the driver sent. */
  readonly reports: number;
  readonly notSent: number;
}

/** What the agent counted over the session: next to what was sent, it shows whether datagrams got lost. */
export interface AgentCounts {
  readonly picks: number;
  readonly reports: number;
  readonly reportsOfStrangers: number;
  readonly droppedBySocket: number;
  readonly sendErrors: number;
}

interface Stage {
  readonly scenario: Scenario;
  readonly run: RealRun;
  readonly link: AgentLink;
  readonly routes: RouteEditor;
}

export class RealSession {
  #nextModid = FIRST_MODID;

  private constructor(
    private readonly lars: Lars,
    private readonly scale: number,
    private readonly seed: number,
  ) {}

  static async start(policy: PolicyName, scale: number, seed: number): Promise<RealSession> {
    const env = { LARS_AGENT__LOADBALANCE__POLICY: policy, LARS_AGENT__UDP__SHARDS: String(SHARDS) };
    return new RealSession(await startLars({ report: 0, env }), scale, seed);
  }

  async stop(): Promise<void> {
    await this.lars.stop();
  }

  /** Plays scenarios at the same time. `onProgress`: seconds passed and seconds in all. */
  async play(
    scenarios: readonly Scenario[],
    onProgress: (seconds: number, total: number) => void = () => {},
  ): Promise<GroupOutcome> {
    const meters = { lag: new Histogram(), picks: new Histogram() };
    const clock = { startMs: 0 };
    const stages: Stage[] = [];
    try {
      for (const scenario of scenarios) stages.push(await this.#prepare(scenario, meters, clock));
      const totalMs = Math.max(...scenarios.map(({ durationMs }) => durationMs * this.scale));
      const cpuBefore = process.cpuUsage();
      await drive(
        stages.map(({ run }) => run),
        clock,
        totalMs + PATIENCE_MS,
        (ms) => onProgress(ms / 1000, totalMs / 1000),
      );
      const seconds = (performance.now() - clock.startMs) / 1000;
      const cpu = process.cpuUsage(cpuBefore);
      for (const { run } of stages) unstretch(run.log, this.scale);
      return {
        outcomes: stages.map(({ scenario, run, routes }) => ({
          scenario,
          log: run.log,
          mishaps: run.mishaps,
          routeFailures: routes.failures,
        })),
        seconds,
        rate: scenarios.reduce((sum, { rate }) => sum + rate, 0),
        lag: meters.lag.times(),
        picks: meters.picks.times(),
        driverCpuShare: (cpu.user + cpu.system) / 1e6 / seconds,
        reports: stages.reduce((sum, { run }) => sum + run.reports, 0),
        notSent: stages.reduce((sum, { link }) => sum + link.notSent, 0),
      };
    } finally {
      for (const { link } of stages) link.close();
    }
  }

  async #prepare(
    scenario: Scenario,
    meters: { readonly lag: Histogram; readonly picks: Histogram },
    clock: { readonly startMs: number },
  ): Promise<Stage> {
    const setting = stretch(scenario, this.scale);
    const modid = this.#nextModid++;
    // A shard's modules share its port, and so all agents of a scenario share a socket.
    const modules = Array.from(
      { length: setting.agents },
      (_, agent): ModuleKey => ({ modid, cmdid: 1 + agent * SHARDS }),
    );
    const routes = new RouteEditor(this.lars, setting, modules);
    const first = setting.routes?.[0]?.hosts ?? setting.hosts.map((_, index) => index);
    await routes.write(first);
    if (routes.failures.length > 0) throw new Error(`${scenario.name}: ${routes.failures.join("; ")}`);

    const resolved = new Set<number>();
    const port = this.lars.agent[0]!.ports.udp + shardOf(modid, modules[0]!.cmdid, SHARDS);
    const link = await AgentLink.open(port, {
      onPick: (call, response) => run.answered(call, response, performance.now() - clock.startMs),
      onRoute: (module, hosts) => {
        if (hosts === first.length) resolved.add(module.cmdid);
      },
    });
    const run = new RealRun(setting, modules, link, routes, meters, this.seed);
    try {
      // Asked for as a route, not by a pick: the balancers begin without any call.
      await eventually(() => {
        const missing = modules.filter(({ cmdid }) => !resolved.has(cmdid));
        for (const module of missing) link.askRoute(module);
        if (missing.length > 0) throw new Error(`${scenario.name}: the agent knows ${resolved.size} of its routes`);
      });
    } catch (error) {
      link.close();
      throw error;
    }
    return { scenario, run, link, routes };
  }

  async counts(): Promise<AgentCounts> {
    const samples = await this.lars.agent[0]!.metrics();
    const read = (counter: string): number => sumMetric(samples, `lars_agent_shard_${counter}_total`);
    return {
      picks: read("picks"),
      reports: read("reports"),
      reportsOfStrangers: read("reports_of_strangers"),
      droppedBySocket: read("dropped_by_socket"),
      sendErrors: read("send_errors"),
    };
  }
}

/** Advances the runs every millisecond until all are over. Their time begins when this is called. */
function drive(
  runs: readonly RealRun[],
  clock: { startMs: number },
  patienceMs: number,
  onProgress: (ms: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let saidAtMs = 0;
    clock.startMs = performance.now();
    const timer = setInterval(() => {
      try {
        for (const run of runs) run.advance(performance.now() - clock.startMs);
        const nowMs = performance.now() - clock.startMs;
        if (nowMs - saidAtMs >= 1000) {
          saidAtMs = nowMs;
          onProgress(nowMs);
        }
        if (runs.every((run) => run.isOver)) {
          clearInterval(timer);
          resolve();
        } else if (nowMs > patienceMs) {
          throw new Error(`the scenarios are not over after ${Math.round(nowMs / 1000)} s`);
        }
      } catch (error) {
        clearInterval(timer);
        reject(error);
      }
    }, TICK_MS);
  });
}
