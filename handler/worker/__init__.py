"""The worker on an SQS queue."""
