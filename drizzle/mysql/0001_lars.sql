-- Our tables, and our columns in the original's. Edited by hand after generation, in three places: engine and character
-- set are said; counts that the original's signed 32-bit columns turned negative become what was counted; our columns in
-- RouteData are INVISIBLE, so that an old tool's INSERT without a column list and its SELECT * see the five columns they
-- know. Every statement may run again on a database that has it already (src/store/sql/migrate.ts says why).
CREATE TABLE `lars_agent_instance` (
	`id` bigint unsigned AUTO_INCREMENT NOT NULL,
	`instance` varchar(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`caller` int unsigned NOT NULL,
	`last_seen_ms` bigint unsigned NOT NULL,
	CONSTRAINT `lars_agent_instance_id` PRIMARY KEY(`id`),
	CONSTRAINT `lars_agent_instance_instance` UNIQUE(`instance`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_call_cursor` (
	`instance_id` bigint unsigned NOT NULL,
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`ip` int unsigned NOT NULL,
	`port` int unsigned NOT NULL,
	`seq` bigint unsigned NOT NULL,
	`succ` int unsigned NOT NULL,
	`err` int unsigned NOT NULL,
	CONSTRAINT `lars_call_cursor_instance_id_modid_cmdid_ip_port_pk` PRIMARY KEY(`instance_id`,`modid`,`cmdid`,`ip`,`port`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_change` (
	`revision` bigint unsigned NOT NULL,
	`at_ms` bigint unsigned NOT NULL,
	`who` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`action` varchar(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`request_id` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	CONSTRAINT `lars_change_revision` PRIMARY KEY(`revision`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_change_item` (
	`revision` bigint unsigned NOT NULL,
	`position` int unsigned NOT NULL,
	`detail` mediumtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	CONSTRAINT `lars_change_item_revision_position_pk` PRIMARY KEY(`revision`,`position`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_host` (
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`ip` int unsigned NOT NULL,
	`port` int unsigned NOT NULL,
	`weight` int unsigned NOT NULL,
	`zone` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`state` varchar(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	CONSTRAINT `lars_host_modid_cmdid_ip_port_pk` PRIMARY KEY(`modid`,`cmdid`,`ip`,`port`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_name` (
	`scope` varchar(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`id` int unsigned NOT NULL,
	`name` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`revision` bigint unsigned NOT NULL,
	CONSTRAINT `lars_name_scope_id_pk` PRIMARY KEY(`scope`,`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_route` (
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`name` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
	`revision` bigint unsigned NOT NULL,
	CONSTRAINT `lars_route_modid_cmdid_pk` PRIMARY KEY(`modid`,`cmdid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_state` (
	`id` int unsigned NOT NULL,
	`revision` bigint unsigned NOT NULL DEFAULT 0,
	`route_version` bigint unsigned NOT NULL DEFAULT 0,
	`route_change_id` bigint unsigned NOT NULL DEFAULT 0,
	`foreign_pending` tinyint NOT NULL DEFAULT 0,
	`scanned_at_ms` bigint unsigned NOT NULL DEFAULT 0,
	CONSTRAINT `lars_state_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE `lars_token` (
	`id` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`name` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`role` varchar(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`sha256` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	`created_at_ms` bigint unsigned NOT NULL,
	CONSTRAINT `lars_token_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
ALTER TABLE `CmdIDConfig` MODIFY COLUMN `content` char(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL;--> statement-breakpoint
ALTER TABLE `ModIDConfig` MODIFY COLUMN `content` char(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL;--> statement-breakpoint
ALTER TABLE `ServerCallStatus` MODIFY COLUMN `succ_cnt` bigint NOT NULL, MODIFY COLUMN `err_cnt` bigint NOT NULL;--> statement-breakpoint
UPDATE `ServerCallStatus` SET `succ_cnt` = `succ_cnt` + 4294967296 WHERE `succ_cnt` < 0;--> statement-breakpoint
UPDATE `ServerCallStatus` SET `err_cnt` = `err_cnt` + 4294967296 WHERE `err_cnt` < 0;--> statement-breakpoint
ALTER TABLE `ServerCallStatus` MODIFY COLUMN `succ_cnt` bigint unsigned NOT NULL, MODIFY COLUMN `err_cnt` bigint unsigned NOT NULL;--> statement-breakpoint
ALTER TABLE `RouteData` ADD `weight` int unsigned DEFAULT 100 NOT NULL INVISIBLE;--> statement-breakpoint
ALTER TABLE `RouteData` ADD `zone` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT '' NOT NULL INVISIBLE;--> statement-breakpoint
ALTER TABLE `RouteData` ADD `state` varchar(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT 'up' NOT NULL INVISIBLE;--> statement-breakpoint
CREATE INDEX `lars_agent_instance_seen` ON `lars_agent_instance` (`last_seen_ms`);--> statement-breakpoint
CREATE INDEX `lars_name_revision` ON `lars_name` (`revision`);--> statement-breakpoint
CREATE INDEX `lars_route_revision` ON `lars_route` (`revision`);--> statement-breakpoint
CREATE INDEX `lars_cmdid` ON `CmdIDConfig` (`cmdid`);--> statement-breakpoint
CREATE INDEX `lars_modid` ON `ModIDConfig` (`modid`);--> statement-breakpoint
CREATE INDEX `lars_route_data_endpoint` ON `RouteData` (`modid`,`cmdid`,`serverip`,`serverport`);