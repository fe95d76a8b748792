"""What every worker process stands on: serving, cores, compiled kernels, durable files."""
