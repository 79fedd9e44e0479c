// Some faults need what a machine may not allow: namespaces, another clock. Then their tests are skipped with the reason
// named; under CI=true they run and fail with it, since a suite that quietly leaves its faults out proves nothing.

/** Undefined: `attempt` succeeded. Else why the tests cannot run here. */
export async function reasonAgainst(attempt: () => unknown): Promise<string | undefined> {
  try {
    await attempt();
    return undefined;
  } catch (error) {
    if (process.env.CI === "true") return undefined;
    return error instanceof Error ? error.message : String(error);
  }
}

/** For a test's title: why it is skipped. */
export function unless(reason: string | undefined): string {
  return reason === undefined ? "" : ` (skipped: ${reason})`;
}
