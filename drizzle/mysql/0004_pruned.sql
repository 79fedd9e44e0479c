-- Agent instances whose cursors were forgotten are remembered, so that one that returns is not counted twice.
ALTER TABLE `lars_agent_instance` ADD `pruned_at_ms` bigint unsigned DEFAULT 0 NOT NULL;