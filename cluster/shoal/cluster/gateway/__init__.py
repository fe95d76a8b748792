"""The gateway: the public gRPC API. It checks, forwards writes to the coordinator and answers reads and searches itself."""
