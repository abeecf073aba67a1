"""temporary"""
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectStore, PutHeaders, StoreConfig, Transport, sendable
__all__ = ["ObjectBody", "ObjectHeaders", "ObjectStore", "PutHeaders", "StoreConfig", "Transport", "sendable"]
