"""Object stores: the protocol in `base`, S3 through obstore or aioboto3, and one in memory.

`auto.open_store` picks one; importing this package, or `base`, loads neither obstore nor boto3. The stores are for
uvloop: obstore under asyncio's own loop was seen to abort the interpreter at its exit.
"""

from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectStore, PutHeaders, StoreConfig

__all__ = ["ObjectBody", "ObjectHeaders", "ObjectStore", "PutHeaders", "StoreConfig"]
