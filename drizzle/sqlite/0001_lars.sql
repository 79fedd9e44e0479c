-- Our tables, and our columns in the original's.
CREATE TABLE `lars_agent_instance` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`instance` text NOT NULL,
	`caller` integer NOT NULL,
	`last_seen_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `lars_agent_instance_seen` ON `lars_agent_instance` (`last_seen_ms`);--> statement-breakpoint
CREATE UNIQUE INDEX `lars_agent_instance_instance` ON `lars_agent_instance` (`instance`);--> statement-breakpoint
CREATE TABLE `lars_call_cursor` (
	`instance_id` integer NOT NULL,
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`ip` integer NOT NULL,
	`port` integer NOT NULL,
	`seq` integer NOT NULL,
	`succ` integer NOT NULL,
	`err` integer NOT NULL,
	PRIMARY KEY(`instance_id`, `modid`, `cmdid`, `ip`, `port`)
);
--> statement-breakpoint
CREATE TABLE `lars_change` (
	`revision` integer PRIMARY KEY NOT NULL,
	`at_ms` integer NOT NULL,
	`who` text NOT NULL,
	`action` text NOT NULL,
	`request_id` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `lars_change_item` (
	`revision` integer NOT NULL,
	`position` integer NOT NULL,
	`detail` text NOT NULL,
	PRIMARY KEY(`revision`, `position`)
);
--> statement-breakpoint
CREATE TABLE `lars_host` (
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`ip` integer NOT NULL,
	`port` integer NOT NULL,
	`weight` integer NOT NULL,
	`zone` text NOT NULL,
	`state` text NOT NULL,
	PRIMARY KEY(`modid`, `cmdid`, `ip`, `port`)
);
--> statement-breakpoint
CREATE TABLE `lars_name` (
	`scope` text NOT NULL,
	`id` integer NOT NULL,
	`name` text NOT NULL,
	`revision` integer NOT NULL,
	PRIMARY KEY(`scope`, `id`)
);
--> statement-breakpoint
CREATE INDEX `lars_name_revision` ON `lars_name` (`revision`);--> statement-breakpoint
CREATE TABLE `lars_route` (
	`modid` integer NOT NULL,
	`cmdid` integer NOT NULL,
	`name` text DEFAULT '' NOT NULL,
	`revision` integer NOT NULL,
	PRIMARY KEY(`modid`, `cmdid`)
);
--> statement-breakpoint
CREATE INDEX `lars_route_revision` ON `lars_route` (`revision`);--> statement-breakpoint
CREATE TABLE `lars_state` (
	`id` integer PRIMARY KEY NOT NULL,
	`revision` integer DEFAULT 0 NOT NULL,
	`route_version` integer DEFAULT 0 NOT NULL,
	`route_change_id` integer DEFAULT 0 NOT NULL,
	`foreign_pending` integer DEFAULT 0 NOT NULL,
	`scanned_at_ms` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `lars_token` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`role` text NOT NULL,
	`sha256` text NOT NULL,
	`created_at_ms` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `RouteData` ADD `weight` integer DEFAULT 100 NOT NULL;--> statement-breakpoint
ALTER TABLE `RouteData` ADD `zone` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `RouteData` ADD `state` text DEFAULT 'up' NOT NULL;--> statement-breakpoint
CREATE INDEX `lars_route_data_endpoint` ON `RouteData` (`modid`,`cmdid`,`serverip`,`serverport`);--> statement-breakpoint
CREATE INDEX `lars_cmdid` ON `CmdIDConfig` (`cmdid`);--> statement-breakpoint
CREATE INDEX `lars_modid` ON `ModIDConfig` (`modid`);