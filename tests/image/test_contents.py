"""The contents of the image."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.image.container import ROOT, SITE, config, export, run, shell


def test_the_default_command_is_the_lambda_and_the_user_is_not_root() -> None:
    assert config()["Cmd"] == ["python", "-m", "awslambdaric", "handler.aws_lambda.handler"]
    assert config()["User"] == "10001:10001"
    assert run("id").stdout.strip() == "uid=10001(thumbnailer) gid=10001(thumbnailer) groups=10001(thumbnailer)"


def test_there_is_no_compiler_no_header_and_no_installer() -> None:
    found = shell("command -v gcc cc g++ clang ld make pip pip3 uv; true")
    packages = shell("dpkg-query -W -f '${Package}\\n'").split()
    headers = shell("find / -xdev -path /proc -prune -o -path '/usr/include/*' -name '*.h' -print")
    assert (found, headers) == ("", "")
    assert not [name for name in packages if re.fullmatch(r"(gcc|g\+\+|cpp|clang)(-\d+)?|binutils.*|.*-dev", name)]
    assert shell(f"ls -d {SITE}/pip {SITE}/setuptools {SITE}/uv 2>/dev/null; true") == ""


def test_there_is_no_cache_and_no_list_of_packages() -> None:
    left = "/var/lib/apt/lists /var/cache/apt /root/.cache /src /tmp"
    assert shell(f"find {left} -xdev -type f 2>/dev/null; true") == ""


def test_no_file_has_setuid_or_setgid() -> None:
    assert shell("find / -xdev -type f -perm /6000") == ""


def test_only_temporary_folders_are_writable_by_all() -> None:
    writable = shell("find / -xdev ! -type l -perm -o+w ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*'").split()
    assert set(writable) <= {"/tmp", "/var/tmp", "/run/lock"}
    assert shell("find / -xdev -user 10001 ! -path '/proc/*' ! -path '/dev/*'") == ""


def test_only_tmp_is_writable() -> None:
    folders = "/ /etc /opt/thumbnailer /run /tmp /usr /var /var/task /var/tmp"
    script = f"for d in {folders}; do touch $d/x 2>/dev/null && echo $d; done; true"
    assert run("sh", "-c", script, options=["--user=0"]).stdout.split() == ["/tmp"]


def test_every_shared_library_finds_its_libraries() -> None:
    listed = "find / -xdev -type f \\( -name '*.so' -o -name '*.so.*' \\)"
    count = int(shell(f"{listed} | wc -l"))
    missing = shell(f"{listed} | while read -r f; do ldd $f 2>&1 | grep 'not found' | sed \"s|^|$f|\"; done")
    assert count > 200
    assert missing == ""


def test_no_module_is_compiled_at_run_time() -> None:
    """Python uses the bytecode whatever times the layers' files have."""
    modules = (
        "asyncio, awslambdaric.bootstrap, handler.aws_lambda, thumbnailer.store.obstore_, aioboto3, PIL.Image, pyvips"
    )
    told = run("python", "-v", "-c", f"import {modules}").stderr
    loaded = re.findall(r"code object from '?([^'\n]+)'?", told)
    assert len(loaded) > 100
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_the_image_has_no_configuration_of_the_building_machine() -> None:
    """Package index, root certificates and folders."""
    words = {str(ROOT), *_index_words()}
    patterns = " ".join(f"-e '{word}'" for word in words)
    found = shell(f"grep -rIlF {patterns} /etc /opt /root /usr /var /home /srv 2>/dev/null; true")
    assert found == ""
    assert shell("find /etc -name 'pip.conf' -o -name 'uv.toml'") == ""
    assert shell("ls -A /usr/local/share/ca-certificates 2>/dev/null; true") == ""
    strange = "find /etc/ssl/certs -name '*.pem' -exec readlink -f {} + | grep -v '^/usr/share/ca-certificates/'; true"
    assert shell(strange) == ""
    environment = [name.partition("=")[0] for name in config()["Env"]]
    assert set(environment) <= {"LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "container"}


def test_the_image_has_neither_name_nor_name_servers_of_the_building_machine(tmp_path: Path) -> None:
    """Reads the layers: a running container has these files from the engine."""
    own = {name: Path(name).read_bytes() for name in ("/etc/hostname", "/etc/resolv.conf") if Path(name).exists()}
    export(tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as image:
        assert "etc/passwd" in image.getnames()
        found = {name: image.extractfile(name) for name in image.getnames() if f"/{name}" in own}
        assert [name for name, file in found.items() if file and file.read() == own[f"/{name}"] != b""] == []
    (tmp_path / "image.tar").unlink()


def _index_words() -> set[str]:
    """Hosts and folders in which this machine's pip looks for packages, except PyPI."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    places = re.findall(r"(?:index-url|find-links|trusted-host)=(.*)", listed.stdout)
    words = {word.removeprefix("file://") for text in places for word in ast.literal_eval(text).split()}
    return {urlsplit(word).hostname or word for word in words} - {"pypi.org", "files.pythonhosted.org"}


def test_there_are_root_certificates() -> None:
    """obstore uses the system's."""
    assert int(shell("grep -c 'BEGIN CERT' /etc/ssl/certs/ca-certificates.crt")) > 100


def test_botocore_has_the_data_of_the_used_services_only() -> None:
    """S3, SQS and the services of the credential chain (roles, web identity, SSO)."""
    names = ("s3", "sqs", "sso", "sso-oidc", "sts")
    run("python", "-c", f"import boto3; [boto3.client(name, region_name='eu-west-1') for name in {names}]")
    assert "ec2" not in shell(f"ls {SITE}/botocore/data").split()


def test_labels() -> None:
    labels = config()["Labels"]
    for name in ("title", "description", "licenses", "base.name", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])
