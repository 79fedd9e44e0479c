// What each call of the dns service needs. Which roles that means: src/core/principal.ts.
import type { CallRules } from "../auth/call-guard.ts";

export const DNS_CALLS: CallRules = {
  "GET /v1/routes": "read",
  "GET /v1/routes/{modid}/{cmdid}": "read",
  "GET /v1/watch": "read",
  "GET /v1/export": "read",
  "GET /v1/modules": "read",
  "GET /v1/changes": "read",
  "GET /v1/changes/{revision}": "read",
  "GET /v1/agents": "read",
  "GET /v1/replica": "read",

  "PUT /v1/routes/{modid}/{cmdid}": "change",
  "DELETE /v1/routes/{modid}/{cmdid}": "change",
  "POST /v1/routes/{modid}/{cmdid}/hosts": "change",
  "PATCH /v1/routes/{modid}/{cmdid}/hosts/{endpoint}": "change",
  "DELETE /v1/routes/{modid}/{cmdid}/hosts/{endpoint}": "change",
  "PUT /v1/modules/{modid}": "change",
  "PUT /v1/commands/{cmdid}": "change",
  "POST /v1/import": "change",
  "POST /v1/changes/{revision}/revert": "change",
  "POST /v1/changes/{revision}/confirm": "change",

  // Of which modules, the handlers ask the principal.
  "GET /v1/registrations": "read",
  "GET /v1/registrations/{id}": "read",
  "PUT /v1/registrations/{id}": "register",
  "PUT /v1/registrations/{id}/heartbeat": "register",
  "DELETE /v1/registrations/{id}": "register",

  "GET /v1/tokens": "administer",
  "POST /v1/tokens": "administer",
  "DELETE /v1/tokens/{id}": "administer",
};
