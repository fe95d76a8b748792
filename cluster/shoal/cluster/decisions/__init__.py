"""Pure decisions: state in, effects out. No Ray, gRPC, clocks or disks."""
