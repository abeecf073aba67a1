"""What is needed to run it on AWS: `packing` makes the zip and the layer."""
