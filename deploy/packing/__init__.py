"""The zip and the layer for Lambda's managed Python runtimes: `python -m deploy.packing`, or `make zip`.

target (which runtime) -> install (wheels for it) -> strip (what is never imported) -> elf (does it load there) ->
archive (the same bytes for the same files).
"""
