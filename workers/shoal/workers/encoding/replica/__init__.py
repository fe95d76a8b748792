"""An encoder replica: the actor, its gRPC service and its process exit."""
