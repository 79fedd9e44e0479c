-- The original's tables as its schema had them. Edited by hand after generation: IF NOT EXISTS, because on a database the
-- original already uses they are taken over as they stand; engine and character set, because a server's defaults differ.
CREATE TABLE IF NOT EXISTS `CmdIDConfig` (
	`id` int unsigned AUTO_INCREMENT NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`content` char(255) NOT NULL,
	CONSTRAINT `CmdIDConfig_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `ModIDConfig` (
	`id` int unsigned AUTO_INCREMENT NOT NULL,
	`modid` int unsigned NOT NULL,
	`content` char(255) NOT NULL,
	CONSTRAINT `ModIDConfig_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteChange` (
	`id` int unsigned AUTO_INCREMENT NOT NULL,
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`version` bigint unsigned NOT NULL,
	CONSTRAINT `RouteChange_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteData` (
	`id` int unsigned AUTO_INCREMENT NOT NULL,
	`modid` int unsigned NOT NULL,
	`cmdid` int unsigned NOT NULL,
	`serverip` int unsigned NOT NULL,
	`serverport` int unsigned NOT NULL,
	CONSTRAINT `RouteData_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteVersion` (
	`id` int unsigned AUTO_INCREMENT NOT NULL,
	`version` int unsigned NOT NULL,
	CONSTRAINT `RouteVersion_id` PRIMARY KEY(`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `ServerCallStatus` (
	`modid` int NOT NULL,
	`cmdid` int NOT NULL,
	`ip` int unsigned NOT NULL,
	`port` int unsigned NOT NULL,
	`caller` int unsigned NOT NULL,
	`succ_cnt` int NOT NULL,
	`err_cnt` int NOT NULL,
	`ts` bigint NOT NULL,
	`overload` char(1) NOT NULL,
	CONSTRAINT `ServerCallStatus_modid_cmdid_ip_port_caller_pk` PRIMARY KEY(`modid`,`cmdid`,`ip`,`port`,`caller`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
--> statement-breakpoint
CREATE INDEX `mlb_index` ON `ServerCallStatus` (`modid`,`cmdid`,`ip`,`port`,`caller`);