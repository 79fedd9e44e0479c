// Access tokens in memory, for tests of what stands before the store.
import type { TokenRecord, TokenStore, TokenUse } from "../../src/store/route-store.ts";

export class MemoryTokenStore implements TokenStore {
  readonly tokens: TokenRecord[] = [];
  failure: Error | undefined;
  lists = 0;
  /** Every batch of last uses that was written. */
  readonly noted: (readonly TokenUse[])[] = [];

  async list(): Promise<readonly TokenRecord[]> {
    this.lists++;
    if (this.failure !== undefined) throw this.failure;
    return [...this.tokens];
  }
  async insert(token: TokenRecord): Promise<boolean> {
    if (this.tokens.some(({ id }) => id === token.id)) return false;
    this.tokens.push(token);
    return true;
  }
  async remove(id: string, keepAdmin: boolean): Promise<"removed" | "missing" | "last-admin"> {
    if (this.failure !== undefined) throw this.failure;
    const index = this.tokens.findIndex((token) => token.id === id);
    if (index < 0) return "missing";
    const admins = this.tokens.filter(({ role }) => role === "admin");
    if (keepAdmin && admins.length === 1 && admins[0]!.id === id) return "last-admin";
    this.tokens.splice(index, 1);
    return "removed";
  }
  async noteUses(uses: readonly TokenUse[]): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.noted.push(uses);
    for (const { id, atMs } of uses) {
      const index = this.tokens.findIndex((token) => token.id === id);
      const token = this.tokens[index];
      if (token !== undefined && atMs > (token.lastUsedAtMs ?? 0))
        this.tokens[index] = { ...token, lastUsedAtMs: atMs };
    }
  }
  /** Stores a token for a role as the service would: hashed. */
  add(role: TokenRecord["role"], secret: string, modules: TokenRecord["modules"] = []): void {
    const sha256 = new Bun.CryptoHasher("sha256").update(secret).digest("hex");
    this.tokens.push({
      id: secret,
      name: `the ${role}`,
      role,
      sha256,
      createdAtMs: 0,
      modules,
      lastUsedAtMs: undefined,
    });
  }
}
