-- Refuses all fills in progress in a partition.
--
-- KEYS[1..5]  the partition
-- returns     1
stamp(':', now_ms())
open()
return 1
