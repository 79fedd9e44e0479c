-- Leases, what tokens are limited to, and routes that vanished by mistake.
CREATE TABLE `lars_lease_clock` (
	`id` int unsigned NOT NULL,
	`clock_ms` bigint unsigned NOT NULL DEFAULT 0,
	`tick` bigint unsigned NOT NULL DEFAULT 0,
	`owner` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
	CONSTRAINT `lars_lease_clock_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_registration` (
	`id` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`ip` int unsigned NOT NULL,
	`port` int unsigned NOT NULL,
	`weight` int unsigned NOT NULL,
	`zone` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`state` varchar(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`ttl_ms` bigint unsigned NOT NULL,
	`expires_ms` bigint unsigned NOT NULL,
	`registered_at_ms` bigint unsigned NOT NULL,
	`who` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	CONSTRAINT `lars_registration_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
ALTER TABLE `lars_host` ADD `leased` tinyint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_route` ADD `vanished_from` int unsigned DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_token` ADD `modules` varchar(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_token` ADD `last_used_ms` bigint unsigned DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX `lars_registration_endpoint` ON `lars_registration` (`modid`,`cmdid`,`ip`,`port`);--> statement-breakpoint
CREATE INDEX `lars_registration_expires` ON `lars_registration` (`expires_ms`);