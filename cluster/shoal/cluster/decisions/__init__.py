"""Pure decisions: state and events in, new state and actions out. No Ray, gRPC, clocks or disks."""
