"""x"""
VARIABLES = ("RUN_FUNCTION", "RUN_MAPPING", "RUN_SOURCE", "RUN_DESTINATION", "RUN_QUEUE", "RUN_DEAD_LETTERS", "RUN_MACHINE", "RUN_BACKLOG")
STILL_MISSING = "thumbnailer_run_still_missing"
STEPS = dict.fromkeys("check plan survey estimate feed report".split())
def handler(event, context): pass
