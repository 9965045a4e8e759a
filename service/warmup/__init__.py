"""What the warmup supervisor warms: the engine behind the queue, the canary, and the plan of what must be proved.

Whether the service counts as warm is decided in the ``supervisor`` package, and told to clients by ``service.http``.
"""
