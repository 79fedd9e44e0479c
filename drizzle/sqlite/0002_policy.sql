-- The module's own balancing policy.
ALTER TABLE `lars_route` ADD `policy` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_route` ADD `policy_parameters` text DEFAULT '' NOT NULL;