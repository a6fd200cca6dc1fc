"""crossbus: Amazon EventBridge's APIs, rule language and delivery guarantees as one async daemon."""

__version__ = "0.1.0"
