// A child that was started to live as long as its parent. When the parent is killed without a word, the child ends itself
// in order, instead of holding ports that the next start needs.

export const PARENT_VARIABLE = "LARS_PARENT_PID";
const LOOK_EVERY_MS = 500;

/** Calls `gone` once when the process named by LARS_PARENT_PID is not our parent any more. Without the variable: never. */
export function watchParent(env: Readonly<Record<string, string | undefined>>, gone: () => void): () => void {
  const parent = Number(env[PARENT_VARIABLE]);
  if (!Number.isInteger(parent) || parent <= 0) return () => {};
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, LOOK_EVERY_MS);
  return () => clearInterval(timer);
}
