"""The zip, and the bucket that holds it and the templates."""

import hashlib
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile, ZipFile

from botocore.exceptions import ClientError

from handler.deploy import DeployError
from handler.deploy.account import Account, code_of, has_bucket
from handler.deploy.parameters import ROOT

_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "arm64"}
_MODULE: Final = re.compile(r"\.cpython-(\d)(\d+)-(x86_64|aarch64)-linux-gnu\.so$")
_ENTRY: Final = "handler/aws_lambda.py"


class Package(NamedTuple):
    """A zip for Lambda, with the runtime and architecture of its compiled modules."""

    path: Path
    runtime: str
    architecture: str

    @property
    def key(self) -> str:
        """Its key in the code bucket: other bytes get another key, so CloudFormation sees each change."""
        return f"{hashlib.sha256(self.path.read_bytes()).hexdigest()[:32]}.zip"


def build_package(runtime: str, architecture: str) -> Path:
    """The zip of this clone, made by `make zip`. Raises DeployError."""
    python = runtime.removeprefix("python")
    command = ["make", "--no-print-directory", "zip", f"PYTHON_VERSION={python}", f"ARCH={architecture}", "ARGS="]
    env = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}  # it has ARGS of `make deploy`
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:  # noqa: S603
        raise DeployError("The zip cannot be built: `make zip` says why; or give a zip with --zip.")
    return ROOT / "dist" / f"thumbnailer-{runtime}-{architecture}.zip"


def read_package(path: Path) -> Package:
    """What a zip is built for. Raises DeployError."""
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, BadZipFile) as error:
        raise DeployError(f"{path} cannot be read as a zip: build it with `make zip`.") from error
    found = next(filter(None, map(_MODULE.search, names)), None)
    if _ENTRY not in names or not found:
        raise DeployError(f"{path} is not Thumbnailer's zip: build it with `make zip`.")
    return Package(path, f"python{found[1]}.{found[2]}", _MACHINES[found[3]])


def check_package(package: Package, runtime: str, architecture: str) -> None:
    """Raises DeployError if the stack would run the zip on another Python or processor."""
    if (package.runtime, package.architecture) != (runtime, architecture):
        raise DeployError(
            f"{package.path.name} is for {package.runtime} on {package.architecture}, and the function would be "
            f"{runtime} on {architecture}: add --set Runtime={package.runtime} --set Architecture="
            f"{package.architecture}, or leave out --zip to build the right one."
        )


class CodeBucket:
    """The bucket of zips and templates, one for each stack. `undo` removes a bucket that this run has made."""

    def __init__(self, account: Account, stack: str) -> None:
        self.account, self.stack = account, stack
        self.name = f"{stack}-code-{account.id}-{account.region}"
        self.s3 = account.client("s3")

    def exists(self) -> bool:
        return has_bucket(self.account, self.name)

    def make(self, undo: ExitStack) -> None:
        """Makes the bucket unless it is there. S3 lets nobody else read a new bucket."""
        if self.exists():
            return
        place = {"CreateBucketConfiguration": {"LocationConstraint": self.account.region}}
        self.s3.create_bucket(Bucket=self.name, **({} if self.account.region == "us-east-1" else place))
        undo.callback(self.remove)

    def upload(self, package: Package) -> str:
        """Uploads the zip unless the same bytes are there; returns its key."""
        key = package.key
        if not self.has(key):
            self.s3.upload_file(str(package.path), self.name, key, ExtraArgs=self._owned)
        return key

    def has(self, key: str) -> bool:
        try:
            self.s3.head_object(Bucket=self.name, Key=key, **self._owned)
        except ClientError as error:
            if code_of(error) != "404":
                raise
            return False
        return True

    def put(self, key: str, text: str) -> str:
        """Stores a text; returns the address that CloudFormation reads it from."""
        self.s3.put_object(Bucket=self.name, Key=key, Body=text.encode(), **self._owned)
        return f"{self.s3.meta.endpoint_url}/{self.name}/{key}"

    def remove(self) -> None:
        """Deletes the bucket with everything in it."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, **self._owned):
            for item in page.get("Contents", ()):
                self.s3.delete_object(Bucket=self.name, Key=item["Key"], **self._owned)
        self.s3.delete_bucket(Bucket=self.name, **self._owned)

    @property
    def _owned(self) -> dict[str, str]:
        return {"ExpectedBucketOwner": self.account.id}
