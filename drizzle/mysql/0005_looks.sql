-- Looks at the whole table are made without the lock; these count what may have come since one began.
ALTER TABLE `lars_state` ADD `foreign_marks` bigint unsigned DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `lars_state` ADD `looked_marks` bigint unsigned DEFAULT 0 NOT NULL;