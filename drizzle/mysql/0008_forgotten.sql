-- Up to which revision the rows of removed modules may be gone.
ALTER TABLE `lars_state` ADD `forgotten_revision` bigint unsigned DEFAULT 0 NOT NULL;