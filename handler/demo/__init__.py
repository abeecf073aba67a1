"""The whole way on one laptop: S3 and queue inside the process, the real Lambda door, sample pictures, a gallery."""
