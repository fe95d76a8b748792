"""The gateway's gRPC server, services and streams."""
