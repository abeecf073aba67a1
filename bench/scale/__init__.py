"""A load on paper: queue, Lambda and Fargate simulated."""
