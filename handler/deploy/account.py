"""The account that the deployment goes to, and errors of AWS as sentences."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore import exceptions
from botocore.config import Config

from handler.deploy import DeployError

LEAST_UNRESERVED: Final = 100
"""Lambda keeps so many concurrent executions for functions without a reservation (docs: configuration-concurrency)."""
_LOG_IN: Final = "run `aws configure`, or `aws sso login`, and try again."
_NO_REGION: Final = "There is no AWS region: add --region, e.g. --region eu-central-1."
_SENTENCES: Final[dict[type[Exception], str]] = {
    exceptions.NoCredentialsError: f"There are no AWS credentials: {_LOG_IN}",
    exceptions.PartialCredentialsError: f"The AWS credentials are incomplete: {_LOG_IN}",
    exceptions.CredentialRetrievalError: f"The AWS credentials cannot be read: {_LOG_IN}",
    exceptions.SSOError: f"The session of AWS's single sign-on has ended: {_LOG_IN}",
    exceptions.ProfileNotFound: "AWS_PROFILE names no profile: `aws configure list-profiles` lists them.",
    exceptions.NoRegionError: _NO_REGION,
    exceptions.HTTPClientError: "AWS cannot be reached: look at the network and at the region's spelling.",
}
_UNKNOWN: Final = {
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
    "SignatureDoesNotMatch",
}  # fmt: skip
_FORBIDDEN: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, and where. `id` has 12 digits."""

    id: str
    region: str
    session: Any

    def client(self, service: str) -> Any:
        # links to objects under a KMS key, and in newer regions, need version 4
        return self.session.client(service, config=Config(signature_version="s3v4" if service == "s3" else None))


def open_account(region: str | None) -> Account:
    """The account of the caller's credentials. Raises DeployError, or an error of botocore that `sentences` knows."""
    session = boto3.Session(region_name=region)
    if not session.region_name:
        raise DeployError(_NO_REGION)
    return Account(session.client("sts").get_caller_identity()["Account"], session.region_name, session)


@contextmanager
def sentences() -> Iterator[None]:
    """Turns errors of botocore into DeployError."""
    try:
        yield
    except exceptions.ClientError as error:
        raise DeployError(_sentence(error)) from error
    except exceptions.BotoCoreError as error:
        known = (sentence for kind, sentence in _SENTENCES.items() if isinstance(error, kind))
        raise DeployError(next(known, f"AWS's client fails: {error}")) from error


def code_of(error: exceptions.ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _sentence(error: exceptions.ClientError) -> str:
    code, message = code_of(error), error.response["Error"].get("Message", "")
    if code in _FORBIDDEN:
        return f"These credentials may not do {error.operation_name}: {message} Use a role that may."
    if code in _UNKNOWN:
        return f"AWS does not accept these credentials, or not in this region ({code}): {_LOG_IN}"
    return f"AWS refuses {error.operation_name} ({code}): {message}"


def has_bucket(account: Account, name: str) -> bool:
    """Whether the bucket is there, as this account's and in this region. Raises DeployError if it is another's."""
    answer, code = _head_bucket(account, name)
    region = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", account.region)
    if code != "404" and region != account.region:
        raise DeployError(
            f"The bucket {name} is in {region} and the stack would be in {account.region}: S3 sends events within a "
            f"region only. Add --region {region}."
        )
    if code not in ("", "404"):
        raise DeployError(
            f"The bucket {name} belongs to another account, or these credentials may not read it ({code}): take "
            "another name. If it is your source in another account, deploy/buckets.md tells how."
        )
    return code == ""


def _head_bucket(account: Account, name: str) -> tuple[Any, str]:
    """The answer, and the code of its error or nothing."""
    try:
        return account.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=account.id), ""
    except exceptions.ClientError as error:
        return error.response, code_of(error)


def look_at_concurrency(account: Account, values: Mapping[str, str]) -> list[str]:
    """A warning if the function may take the account's whole quota. Raises DeployError if Lambda would refuse."""
    limit, most = account.client("lambda").get_account_settings()["AccountLimit"], int(values["MaximumConcurrency"])
    total, free = limit["ConcurrentExecutions"], limit.get("UnreservedConcurrentExecutions", 0)
    advice = "ask for more in AWS's console (Service Quotas, Lambda, concurrent executions)."
    reserved = most * (values["ReserveConcurrency"] == "true") + int(values.get("OnDemandConcurrency", 0))
    if reserved and free - reserved < LEAST_UNRESERVED:
        raise DeployError(
            f"A reservation of {reserved} leaves less than {LEAST_UNRESERVED} of the account's {free} free concurrent "
            f"executions, and Lambda refuses that: lower ReserveConcurrency or OnDemandConcurrency, or {advice}"
        )
    if most < total:
        return []
    return [f"The account runs {total} invocations at a time (new ones: 10), and this function may take all: {advice}"]
