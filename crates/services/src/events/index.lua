-- Has a consumer be looked at when its queue has something to deliver, after what the queue's own steps have done to that.
--
-- KEYS[1..25]  the consumer
-- returns      nothing
index_queue(definition())
