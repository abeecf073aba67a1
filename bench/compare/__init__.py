"""Is one build slower than another?"""
