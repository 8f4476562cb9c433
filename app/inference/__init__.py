"""The doors for clients of other model servers: the Open Inference Protocol v2 and `/invocations`."""
