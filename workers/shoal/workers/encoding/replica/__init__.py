"""An encoder replica: the actor, its gRPC service, and how its process ends."""
