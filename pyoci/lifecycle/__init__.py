"""The operations of the specification on real containers: their state machine, store and hooks."""
