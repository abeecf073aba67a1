"""A stage for runs: buckets, queues, the pipeline's function, and the machine of deploy/backfill.yaml in an engine.

The engine calls the real step handler, which runs in this process. `deliver` gives the messages to the real pipeline.
"""

from __future__ import annotations

import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote_plus

import pytest
from moto.awslambda.models import LambdaFunction
from moto.core.config import default_user_config
from PIL import Image

from handler import aws_lambda, steps
from tests.conftest import Context
from tests.deploy.backfill import NAME, backfill, translate
from tests.deploy.stack import AS_ZIP, BASICS, Stack
from tests.support.cloud import DESTINATION, SOURCE, Cloud, sqs_event
from tests.support.ministack import MiniStack, possible_in_ministack
from thumbnailer.planning.targets import RECIPE, SOURCE_ETAG

LONGEST_SECONDS: Final = 120
CODE: Final = "code"
FORWARDS: Final = """
import json, urllib.request
def handler(event, context):
    with urllib.request.urlopen({url!r}, json.dumps(event).encode(), timeout=60) as answer:
        return json.loads(answer.read())
"""
"""The function that MiniStack runs: it asks this process."""
Client = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution ended. `state` is the last state's name."""

    state: str
    cause: str
    output: Mapping[str, Any]


@dataclass(slots=True)
class Steps:
    """The step handler as the engine's function: `calls` has every event.

    It refuses events for which `fails`, and once loses the answer of each step in `loses`.
    """

    calls: list[dict[str, Any]] = field(default_factory=list)
    fails: Callable[[Mapping[str, Any]], bool] = lambda event: False
    loses: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: dict[str, Any]) -> Any:
        with self.lock:  # as in Lambda, a process has one invocation at a time
            self.calls.append(event)
            if self.fails(event):
                raise RuntimeError("a failure of the test")
            answer = json.loads(json.dumps(steps.handler(event, Context())))
            if event["step"] in self.loses:
                self.loses.remove(event["step"])
                raise RuntimeError("the answer is lost")
            return answer


class Stage:
    def __init__(self, client: Client, machine: str, steps_: Steps, queues: tuple[str, str]) -> None:
        self.steps, self.machine = steps_, machine
        self.s3, self.sqs, self.states = client("s3"), client("sqs"), client("stepfunctions")
        self.queue, self.dead = queues

    def run(self, name: str, **job: object) -> Ended:
        """One execution, up to its end."""
        return self.end(self.start(name, **job))

    def start(self, name: str, **job: object) -> str:
        started = self.states.start_execution(stateMachineArn=self.machine, name=name, input=json.dumps(job))
        arn: str = started["executionArn"]
        return arn

    def end(self, arn: str) -> Ended:
        """Waits for the end of an execution."""
        self.wait_for(lambda: self.states.describe_execution(executionArn=arn)["status"] != "RUNNING")
        told = self.states.describe_execution(executionArn=arn)
        events = self.states.get_execution_history(executionArn=arn)["events"]
        entered = [one["stateEnteredEventDetails"]["name"] for one in events if "stateEnteredEventDetails" in one]
        return Ended(entered[-1], told.get("cause", ""), json.loads(told.get("output", "{}")))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.steps.calls[-3:]
            time.sleep(0.05)

    # --- buckets --------------------------------------------------------------------------------------------------

    def put(self, *keys: str, body: bytes | None = None) -> None:
        for key in keys:
            self.s3.put_object(Bucket=SOURCE, Key=key, Body=picture() if body is None else body)

    def thumbnails(self) -> set[str]:
        listed = self.s3.list_objects_v2(Bucket=DESTINATION).get("Contents", [])
        return {item["Key"] for item in listed if not item["Key"].startswith("_runs/")}

    def report(self, name: str, file: str = "report") -> Any:
        """A file that a run keeps in the destination."""
        return json.loads(self.s3.get_object(Bucket=DESTINATION, Key=f"_runs/{name}/{file}.json")["Body"].read())

    def give_note_of_another_version(self, key: str) -> None:
        self.s3.copy_object(
            Bucket=DESTINATION, Key=key, CopySource=f"{DESTINATION}/{key}", MetadataDirective="REPLACE",
            Metadata={SOURCE_ETAG: "e", RECIPE: "0.0.1-00000000"},
        )  # fmt: skip

    # --- queue ----------------------------------------------------------------------------------------------------

    def take(self) -> list[dict[str, Any]]:
        """Every message that waits, deleted from the queue."""
        taken: list[dict[str, Any]] = []
        while found := self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["All"]
        ).get("Messages"):
            for message in found:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            taken += found
        return taken

    def visible(self) -> int:
        name = "ApproximateNumberOfMessages"
        return int(self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[name])["Attributes"][name])

    def sent(self) -> list[str]:
        """The keys of the messages that wait, sorted; the messages are deleted."""
        return sorted(key_of(message) for message in self.take())

    def deliver(self) -> int:
        """Gives every message that waits to the pipeline. Returns their number."""
        messages = self.take()
        self.process(messages)
        return len(messages)

    def process(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Gives messages to the real pipeline, as Lambda's mapping does."""
        answer = aws_lambda.handler(sqs_event(*(message["Body"] for message in messages)), Context())
        assert answer == {"batchItemFailures": []}


def key_of(message: Mapping[str, Any]) -> str:
    (record,) = json.loads(message["Body"])["Records"]
    return unquote_plus(record["s3"]["object"]["key"])


def name_of(message: Mapping[str, Any]) -> str:
    (record,) = json.loads(message["Body"])["Records"]
    name: str = record["eventName"]
    return name


def picture(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def pipeline_variables(**parameters: str) -> dict[str, str]:
    """The environment of the pipeline's function, from template.yaml."""
    made = Stack(BASICS | AS_ZIP | {"SourceBucket": SOURCE} | parameters)
    return {name: str(value) for name, value in made["ZipFunction"]["Environment"]["Variables"].items()}


# --- both engines ---------------------------------------------------------------------------------------------------


def _make_queues(client: Client) -> tuple[str, str]:
    sqs = client("sqs")
    queue, dead = (sqs.create_queue(QueueName=f"thumbnailer-{name}")["QueueUrl"] for name in ("events", "dead"))
    redrive = {"deadLetterTargetArn": _arn(client, dead), "maxReceiveCount": 5}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(redrive)})
    return queue, dead


def _arn(client: Client, url: str) -> str:
    attributes = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    arn: str = attributes["QueueArn"]
    return arn


def _make_pipeline(client: Client, role: str, queue: str, variables: Mapping[str, str], idle: bool) -> dict[str, str]:
    """The pipeline's function and a mapping, which is switched off: tests deliver. The stack knows it if `idle`."""
    function = client("lambda").create_function(
        FunctionName="thumbnailer", Runtime="python3.13", Role=role, Handler="handler.aws_lambda.handler",
        Code={"ZipFile": zipped({"handler/aws_lambda.py": ""})}, Environment={"Variables": variables},
    )  # fmt: skip
    mapping = client("lambda").create_event_source_mapping(
        FunctionName=function["FunctionName"], EventSourceArn=_arn(client, queue), Enabled=False
    )
    return {"FunctionName": function["FunctionName"], "MappingId": mapping["UUID"] if idle else ""}


def hasten(machine: str) -> str:
    """The machine with one retry of each error, after a second."""
    return re.sub(r'"IntervalSeconds": \d+(.*?)"MaxAttempts": \d+', r'"IntervalSeconds": 1\1"MaxAttempts": 1', machine)


def zipped(files: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def _role(client: Client) -> str:
    arn: str = client("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    return arn


# --- moto -----------------------------------------------------------------------------------------------------------


@contextmanager
def in_moto(
    aws: Cloud, patch: pytest.MonkeyPatch, variables: Mapping[str, str], idle: bool = False, **parameters: str
) -> Iterator[Stage]:
    steps_ = Steps()

    def invoke(function: LambdaFunction, body: str, headers: Any, response_headers: Any) -> bytes:
        try:
            return json.dumps(steps_(json.loads(body))).encode()
        except Exception as error:  # as Lambda answers
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).encode()

    patch.setattr(LambdaFunction, "invoke", invoke)
    patch.setitem(default_user_config["stepfunctions"], "execute_state_machine", True)
    patch.setenv("MOTO_PORT", aws.url.rpartition(":")[2])
    queues, role = _make_queues(aws.client), _role(aws.client)
    given = _make_pipeline(aws.client, role, queues[0], variables, idle) | parameters
    made = backfill(**given, **AS_ZIP, SourceBucket=SOURCE, DestinationBucket=DESTINATION)
    function = aws.client("lambda").create_function(
        FunctionName=made.ref("ZipFunction"), Runtime="python3.13", Role=role, Handler="handler.steps.handler",
        Code={"ZipFile": zipped({"handler/steps.py": ""})},
    )  # fmt: skip
    _set_variables(patch, made["ZipFunction"]["Environment"]["Variables"], variables)
    definition = hasten(json.dumps(made["Machine"]["Definition"])).replace("${Function}", function["FunctionArn"])
    machine = aws.client("stepfunctions").create_state_machine(name=NAME, definition=definition, roleArn=role)
    yield Stage(aws.client, machine["stateMachineArn"], steps_, queues)


def _set_variables(patch: pytest.MonkeyPatch, *environments: Mapping[str, str]) -> None:
    for environment in environments:
        for name, value in environment.items():
            patch.setenv(name, str(value))


# --- MiniStack ------------------------------------------------------------------------------------------------------


@contextmanager
def in_ministack(
    cloud: MiniStack, patch: pytest.MonkeyPatch, variables: Mapping[str, str], idle: bool = False, **parameters: str
) -> Iterator[Stage]:
    """The template itself is deployed."""
    cloud.reset()
    for name, value in cloud.env.items():
        patch.setenv(name, value)
    steps_ = Steps()
    with _answering(steps_) as url:
        for bucket in (SOURCE, DESTINATION, CODE):
            cloud.client("s3").create_bucket(Bucket=bucket)
        code = zipped({"handler/__init__.py": "", "handler/steps.py": FORWARDS.format(url=url)})
        cloud.client("s3").put_object(Bucket=CODE, Key="steps.zip", Body=code)
        queues, role = _make_queues(cloud.client), _role(cloud.client)
        given = _make_pipeline(cloud.client, role, queues[0], variables, idle) | parameters
        arns = {"QueueArn": _arn(cloud.client, queues[0]), "DeadLetterQueueArn": _arn(cloud.client, queues[1])}
        outputs = _deploy(cloud, backfill(**AS_ZIP | given | arns | {"CodeKey": "steps.zip"}))
        told = cloud.client("lambda").get_function_configuration(FunctionName=outputs["FunctionName"])
        _set_variables(patch, told["Environment"]["Variables"], variables)
        yield Stage(cloud.client, outputs["MachineArn"], steps_, queues)


def _deploy(cloud: MiniStack, stack: Stack) -> dict[str, str]:
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName=NAME,
        TemplateBody=hasten(possible_in_ministack(translate())),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    formation.get_waiter("stack_create_complete").wait(StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    (told,) = formation.describe_stacks(StackName=NAME)["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in told["Outputs"]}


@contextmanager
def _answering(steps_: Steps) -> Iterator[str]:
    """A server that answers the function's events with the step handler."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, steps_(event)
            except Exception as error:
                status, answer = 500, str(error)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
