-- The module's own balancing policy.
ALTER TABLE `lars_route` ADD `policy` varchar(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_route` ADD `policy_parameters` varchar(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT '' NOT NULL;