-- The original's tables, as on MySQL. Edited by hand after generation: IF NOT EXISTS, so that a file somebody converted
-- from an old MySQL database is taken over as it stands.
CREATE TABLE IF NOT EXISTS `CmdIDConfig` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`cmdid` integer NOT NULL,
	`content` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `ModIDConfig` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`modid` integer NOT NULL,
	`content` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteChange` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`version` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteData` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`serverip` integer NOT NULL,
	`serverport` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `RouteVersion` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`version` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS `ServerCallStatus` (
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`ip` integer NOT NULL,
	`port` integer NOT NULL,
	`caller` integer NOT NULL,
	`succ_cnt` integer NOT NULL,
	`err_cnt` integer NOT NULL,
	`ts` integer NOT NULL,
	`overload` text NOT NULL,
	PRIMARY KEY(`modid`, `cmdid`, `ip`, `port`, `caller`)
);
