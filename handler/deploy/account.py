"""The account that the deployment goes to, and errors of AWS as sentences."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore import exceptions

from handler.deploy import DeployError

LEAST_UNRESERVED: Final = 100
"""Lambda keeps so many concurrent executions for functions without a reservation (docs: configuration-concurrency)."""
_LOG_IN: Final = "run `aws configure`, or `aws sso login`, and try again"
_SENTENCES: Final[dict[type[Exception], str]] = {
    exceptions.NoCredentialsError: f"There are no AWS credentials: {_LOG_IN}.",
    exceptions.PartialCredentialsError: f"The AWS credentials are incomplete: {_LOG_IN}.",
    exceptions.CredentialRetrievalError: f"The AWS credentials cannot be read: {_LOG_IN}.",
    exceptions.SSOError: f"The session of AWS's single sign-on has ended: {_LOG_IN}.",
    exceptions.TokenRetrievalError: f"The session of AWS's single sign-on has ended: {_LOG_IN}.",
    exceptions.ProfileNotFound: "AWS_PROFILE names no profile: `aws configure list-profiles` lists them.",
    exceptions.NoRegionError: "There is no AWS region: add --region, e.g. --region eu-central-1.",
    exceptions.InvalidRegionError: "The region's name is not valid: add --region, e.g. --region eu-central-1.",
    exceptions.EndpointConnectionError: "AWS cannot be reached: look at the network and at the region's spelling.",
    exceptions.HTTPClientError: "AWS cannot be reached: look at the network and at the region's spelling.",
}
_CODES: Final = {
    "ExpiredToken": f"The AWS credentials have expired: {_LOG_IN}.",
    "ExpiredTokenException": f"The AWS credentials have expired: {_LOG_IN}.",
    "InvalidClientTokenId": f"AWS does not know these credentials, or the region is not enabled: {_LOG_IN}.",
    "UnrecognizedClientException": f"AWS does not know these credentials, or the region is not enabled: {_LOG_IN}.",
    "SignatureDoesNotMatch": f"The secret key is not the one of this access key: {_LOG_IN}.",
    "OptInRequired": "The account is not ready for this service: finish its sign-up in AWS's console.",
}
_FORBIDDEN: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, and where. `id` has 12 digits."""

    id: str
    region: str
    session: Any

    def client(self, service: str) -> Any:
        return self.session.client(service)


def open_account(region: str | None) -> Account:
    """The account of the caller's credentials. Raises DeployError, or an error of botocore that `sentences` knows."""
    session = boto3.Session(region_name=region)
    if not session.region_name:
        raise DeployError(_SENTENCES[exceptions.NoRegionError])
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
    return _CODES.get(code, f"AWS refuses {error.operation_name} ({code}): {message}")


# --- what is there ----------------------------------------------------------------------------------------------------


def has_bucket(account: Account, name: str) -> bool:
    """Whether the bucket is there, as this account's and in this region. Raises DeployError if it is another's."""
    try:
        answer = account.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=account.id)
    except exceptions.ClientError as error:
        if code_of(error) == "404":
            return False
        _refuse_region(name, error.response, account)
        if code_of(error) == "403":
            raise DeployError(
                f"The bucket {name} belongs to another account, or these credentials may not read it: take another "
                "name, or deploy with that account's credentials (deploy/README.md: pictures of another account)."
            ) from error
        raise
    _refuse_region(name, answer, account)
    return True


def _refuse_region(name: str, answer: Any, account: Account) -> None:
    region = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", account.region)
    if region != account.region:
        raise DeployError(
            f"The bucket {name} is in {region} and the stack would be in {account.region}: S3 sends events within a "
            f"region only. Add --region {region}."
        )


def look_at_concurrency(account: Account, values: Mapping[str, str]) -> list[str]:
    """A warning if the function may take the account's whole quota. Raises DeployError if Lambda would refuse."""
    limit, most = account.client("lambda").get_account_settings()["AccountLimit"], int(values["MaximumConcurrency"])
    total, free = limit["ConcurrentExecutions"], limit.get("UnreservedConcurrentExecutions", 0)
    more = f"ask for more in AWS's console (Service Quotas, Lambda, concurrent executions: {LEAST_UNRESERVED + most})"
    if values["ReserveConcurrency"] == "true" and free - most < LEAST_UNRESERVED:
        raise DeployError(
            f"ReserveConcurrency takes {most} of the account's {free} free concurrent executions, and Lambda wants to "
            f"keep {LEAST_UNRESERVED}: leave it false, or {more}."
        )
    if most < total:
        return []
    return [
        f"This account runs {total} invocations at a time (new accounts: 10), and MaximumConcurrency={most} lets this "
        f"function take them all: set less, or {more}."
    ]
