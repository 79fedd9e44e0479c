-- Leases, what tokens are limited to, and routes that vanished by mistake.
CREATE TABLE `lars_lease_clock` (
	`id` integer PRIMARY KEY NOT NULL,
	`clock_ms` integer DEFAULT 0 NOT NULL,
	`tick` integer DEFAULT 0 NOT NULL,
	`owner` text DEFAULT '' NOT NULL
);
--> statement-breakpoint
CREATE TABLE `lars_registration` (
	`id` text PRIMARY KEY NOT NULL,
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`ip` integer NOT NULL,
	`port` integer NOT NULL,
	`weight` integer NOT NULL,
	`zone` text NOT NULL,
	`state` text NOT NULL,
	`ttl_ms` integer NOT NULL,
	`expires_ms` integer NOT NULL,
	`registered_at_ms` integer NOT NULL,
	`who` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `lars_registration_endpoint` ON `lars_registration` (`modid`,`cmdid`,`ip`,`port`);--> statement-breakpoint
CREATE INDEX `lars_registration_expires` ON `lars_registration` (`expires_ms`);--> statement-breakpoint
ALTER TABLE `lars_host` ADD `leased` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_route` ADD `vanished_from` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_token` ADD `modules` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_token` ADD `last_used_ms` integer DEFAULT 0 NOT NULL;