"""The warmup supervisor: the state machine of warmth and the coroutine that keeps it true."""
