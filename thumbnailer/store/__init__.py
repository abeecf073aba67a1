"""Object stores: S3 through obstore or aioboto3, and one in memory; the protocol is in `thumbnailer.store.base`.

`auto.open_store` picks one. Importing this package loads neither obstore nor boto3. The stores are for uvloop:
obstore under asyncio's own loop was seen to abort the interpreter at its exit.
"""
