"""Object stores: S3 through obstore or aioboto3, and one in memory; the protocol is in `thumbnailer.store.base`.

`auto.open_store` chooses one. Importing this package loads neither obstore nor boto3. Use the stores with uvloop: under
asyncio's own loop, obstore aborted the interpreter at its exit.
"""
