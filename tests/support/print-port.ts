// A process that does nothing but load its configuration, for tests of how that ends.
import { dnsConfig } from "../../src/dns/config.ts";
import { loadProcessConfig } from "../../src/platform/config-file.ts";

const { config } = loadProcessConfig(dnsConfig, process.argv.slice(2), process.env);
process.stdout.write(`${config.tcp.port}\n`);
