// The balancing policies a module can have, by the name operators write. Append only: names live in databases and in
// configuration files.

export const POLICIES = ["lars"] as const;
