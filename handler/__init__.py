"""The doors: Lambda function, worker, command line and demo turn input into events and report outcomes."""
