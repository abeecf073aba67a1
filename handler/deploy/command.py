"""The options of `thumbnailer deploy`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

Bucket = Annotated[str, typer.Option(help="the bucket of the pictures; it is made if it is not there")]
With = Annotated[str, typer.Option("--with", help="a comma list of additions, e.g. fargate")]
Values = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a parameter; may be repeated")]
Zip = Annotated[Path | None, typer.Option("--zip", dir_okay=False, help="a zip of `make zip`; default: it is built")]
Image = Annotated[str, typer.Option(metavar="URI", help="an image in ECR, in place of the zip")]
StackName = Annotated[str, typer.Option(help="the stack's name, for several in one account")]
Region = Annotated[str | None, typer.Option(help="the AWS region; default: that of `aws configure`")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the changes and make none")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Remove = Annotated[bool, typer.Option("--remove", help="take everything away; buckets with content stay")]


def deploy(
    bucket: Bucket = "",
    with_: With = "",
    values: Values = None,
    zip_: Zip = None,
    image: Image = "",
    stack: StackName = "thumbnailer",
    region: Region = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    remove: Remove = False,
) -> None:
    """Deploys to AWS, shows the changes before, and sends a sample picture through. Needs a clone and credentials."""
    from handler.deploy import DeploymentFailed
    from handler.deploy.plan import Request
    from handler.deploy.run import run_deploy, run_remove

    additions = tuple(filter(None, with_.split(",")))
    request = Request(bucket, additions, tuple(values or ()), zip_, image, stack, region, dry_run, yes)
    try:
        code = run_remove(request) if remove else run_deploy(request)
    except DeploymentFailed as error:
        print(error, file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("Stopped. AWS finishes what it has begun; the same command continues.", file=sys.stderr)
        code = 130
    raise typer.Exit(code)
