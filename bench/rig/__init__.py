"""What stands around a measured process: limits, S3, queue, network, emulator."""
