"""The zips: built once a session, unzipped, and run by a bare interpreter if this machine has their Python."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import pytest
from PIL import Image

from bench.rig.emulator import HANDLER, Function, find_binary
from bench.rig.processes import NotInstalled
from deploy.packing import IndexUnreachable, PackingError
from deploy.packing.build import (
    UNZIPPED_LIMIT,
    Built,
    build,
    check_size,
    copy_code,
    files_below,
    find_interpreter,
    megabytes,
    write_zip,
)
from deploy.packing.install import ROOT, install
from deploy.packing.strip import UNNEEDED, find_unneeded, shared_objects, strip
from deploy.packing.target import AMAZON_LINUX_2, AMAZON_LINUX_2023, MACHINES, RUNTIMES, System, Target, target_for
from tests.deploy.loading import problems, read_objects
from tests.support.cloud import Cloud, s3_event
from tests.support.emulator import running

T = TypeVar("T")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = {machine: architecture for architecture, machine in MACHINES.items()}[platform.machine()]
IN_ZIP = Path(__file__).with_name("in_zip.py")
RENDITIONS = "128x128,a=64x64:smart,b=90x90:cover:webp,c=50x50:inside:avif,d=80x80:inside:png:q80,e=70x70:inside:gif"
WAYS = [
    {"THUMBNAILER_ENGINE": engine, "THUMBNAILER_TRANSPORT": transport}
    for engine, transport in (("auto", "obstore"), ("vips", "aioboto3"), ("pillow", "obstore"))
]
SAMPLES = sorted(path for path in (ROOT / "handler" / "demo" / "samples").iterdir() if path.suffix != ".md")
MADE = {"tiff": {"compression": "tiff_lzw"}, "tiff-jpeg": {"compression": "jpeg"}, "bmp": {}, "ico": {}, "gif": {}}
"""Formats without a sample, with Pillow's options to write them."""
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><circle cx="99" cy="99" r="80"/></svg>'
STORED = {"records": 1, "outcomes": {"stored": 1}}
WITHOUT_A_LICENCE_IN_ITS_WHEEL = {"obstore", "thumbnailer_jpeg"}  # the second is ours


def runnable() -> list[Target]:
    """The targets that this machine can run: this Python's zip, and one for Amazon Linux 2023."""
    if HERE not in RUNTIMES:
        return []
    own, others = target_for(HERE, ARCHITECTURE), [p for p in RUNTIMES if p != HERE and find_interpreter(p)]
    if own.system is AMAZON_LINUX_2023:
        return [own]
    return [own, target_for(others[-1], ARCHITECTURE) if others else Target(HERE, ARCHITECTURE, AMAZON_LINUX_2023)]


class Package(NamedTuple):
    """The build for a target, and its zip unzipped."""

    built: Built
    tree: Path

    @property
    def python(self) -> str:
        found = find_interpreter(self.built.target.python)
        assert found
        return found


Make = Callable[[Target], Package]


class Dist(NamedTuple):
    """The zips that the command wrote, and its output."""

    whole: Path
    layer: Path
    code: Path
    said: str


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """Built by the command for the tests' own Python. Request `own` first: it skips where this is impossible."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "deploy.packing", "--python", HERE, "--arch", ARCHITECTURE, "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    name = target_for(HERE, ARCHITECTURE).name
    whole, layer, code = (folder / f"{name}{part}.zip" for part in ("", "-layer", "-code"))
    assert set(folder.iterdir()) == {whole, layer, code}
    return Dist(whole, layer, code, done.stdout)


@pytest.fixture(scope="session")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    packages: dict[str, Package] = {}

    def make(target: Target) -> Package:
        key = f"{target.name} {target.system.name}"
        if key not in packages:
            folder = tmp_path_factory.mktemp("zip")
            built = reachable(lambda: build(target, (), folder / "built"))
            if target == target_for(HERE, ARCHITECTURE):
                path = request.getfixturevalue("dist").whole
            else:
                path = folder / "zip"
                write_zip(path, built.files())
            packages[key] = Package(built, unzip(path, folder / "unzipped"))
        return packages[key]

    return make


@pytest.fixture(params=runnable(), ids=lambda target: f"{target.python} for {target.system.name}")
def package(request: pytest.FixtureRequest, made: Make) -> Package:
    return made(request.param)


@pytest.fixture
def own(made: Make) -> Package:
    """The package for the Python that the tests run in."""
    if HERE not in RUNTIMES:
        pytest.skip(f"Lambda has no Python {HERE}")
    return made(target_for(HERE, ARCHITECTURE))


unreachable: list[str] = []
"""The first error of the index: further tries would only wait again."""


def reachable(work: Callable[[], T]) -> T:
    """The result of `work`; skips the test if uv cannot reach the index."""
    if unreachable:
        pytest.skip(unreachable[0])
    try:
        return work()
    except IndexUnreachable as error:
        unreachable.append(str(error))
        pytest.skip(str(error))


def unzip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def pictures(target: Target) -> dict[str, bytes]:
    """A picture of each format that needs no extra, and a truncated one."""
    found = {path.name: path.read_bytes() for path in SAMPLES}
    with Image.open(BytesIO(sample("rocket.jpg"))) as image:
        for name, options in MADE.items():
            out = BytesIO()
            image.resize((200, 150)).save(out, name.partition("-")[0], **options)
            found[name] = out.getvalue()
    found["broken-off.jpg"] = found["rocket.jpg"][: len(found["rocket.jpg"]) * 3 // 4]
    if target.system is AMAZON_LINUX_2023:
        found["drawing.svg"] = SVG
    return found


def sample(name: str) -> bytes:
    return next(path for path in SAMPLES if path.name == name).read_bytes()


Events = list[dict[str, Any]]
Ways = list[dict[str, str]]


def run(package: Package, path: list[Path], cloud: Cloud, events: Events, ways: Ways, folder: Path) -> dict[str, Any]:
    """The result of `in_zip.py`, run by a bare interpreter: isolated, without site-packages."""
    told, out = folder / "run.json", folder / "said.json"
    told.write_text(json.dumps({"path": [*map(str, path)], "events": events, "environments": ways, "out": str(out)}))
    done = subprocess.run(
        [package.python, "-I", "-S", "-B", str(IN_ZIP), str(told)],
        env=cloud.env | {"NO_PROXY": "127.0.0.1", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(out.read_text())
    return said


# --- in a bare interpreter ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def everything(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Package], dict[str, Any]]:
    """The results of every format with both engines and both S3 clients, from the zip alone."""
    done: dict[Path, dict[str, Any]] = {}

    def said(package: Package) -> dict[str, Any]:
        if package.tree not in done:
            cloud.reset()
            more = {"THUMBNAILER_RENDITIONS": RENDITIONS, "THUMBNAILER_THUMBHASH": "on", "THUMBNAILER_SVG": "on"}
            given = pictures(package.built.target)
            events = [s3_event(cloud.put(name, data)) for name, data in given.items()]
            ways = [way | more for way in WAYS]
            done[package.tree] = run(package, [package.tree], cloud, events, ways, tmp_path_factory.mktemp("run"))
        return done[package.tree]

    return said


Everything = Callable[[Package], dict[str, Any]]


def test_a_bare_interpreter_makes_thumbnails_of_every_format_in_every_way(
    package: Package, everything: Everything
) -> None:
    assert everything(package)["answers"] == [[STORED] * len(pictures(package.built.target))] * len(WAYS)


def test_every_plugin_of_pillow_can_still_be_imported(package: Package, everything: Everything) -> None:
    assert everything(package)["broken"] == ["FpxImagePlugin", "MicImagePlugin"]  # these need olefile


def test_doctor_in_the_zip_reports_plain_pillow_and_the_engines(package: Package, everything: Everything) -> None:
    doctor = everything(package)["doctor"]
    good, found = doctor["PIL"]
    assert good is True
    assert found.startswith("Pillow ")
    assert "no SIMD" in found
    assert "heic" in doctor["engine pillow"][1]
    has_vips = package.built.target.system is AMAZON_LINUX_2023
    assert doctor["engine vips"][0] is (True if has_vips else None)
    assert [what for what, (good, _) in doctor.items() if good is False] == []


def test_boto3_has_clients_only_for_the_doors_and_for_credentials(package: Package, everything: Everything) -> None:
    found = everything(package)["services"]
    assert found == ["lambda", "s3", "sqs", "sso", "sso-oidc", "stepfunctions", "sts"]


def test_nearly_every_file_in_the_zip_is_opened(package: Package, everything: Everything) -> None:
    """Of code and data, 2 to 3 % are not: certificates, host names in other encodings, fallbacks in pure Python."""
    opened = {source_of(Path(path)) for path in everything(package)["opened"]}
    code = {path for path in files_below(package.tree).values() if ".dist-info" not in str(path)}
    idle = {path: path.stat().st_size for path in code if source_of(path) not in opened}
    total = sum(path.stat().st_size for path in code)
    assert sum(idle.values()) < total * 0.04, sorted(idle.items(), key=lambda item: -item[1])[:20]
    assert [path.name for path, size in idle.items() if size > 300_000] == []


def source_of(path: Path) -> Path:
    """The source of bytecode; any other path itself."""
    return path.parent.parent / f"{path.name.split('.')[0]}.py" if path.suffix == ".pyc" else path


def test_layer_and_code_make_a_thumbnail_together(own: Package, dist: Dist, cloud: Cloud, tmp_path: Path) -> None:
    """On Lambda they are in /opt/python and /var/task."""
    cloud.reset()
    task = unzip(dist.code, tmp_path / "task")
    opt = unzip(dist.layer, tmp_path / "opt")
    event = s3_event(cloud.put("rocket.jpg", sample("rocket.jpg")))
    said = run(own, [task, opt / "python"], cloud, [event], [{}], tmp_path)
    assert said["answers"] == [[STORED]]
    assert {path.name for path in opt.iterdir()} == {"python"}
    assert {path.name for path in task.iterdir()} == {"handler", "thumbnailer"}


RUNTIME = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
"""Lambda's runtime client and its dependencies, which the zip need not contain."""
START = """
import sys
sys.path = [{tree!r}, *sys.path, {runtime!r}]
from awslambdaric.__main__ import main
main(["", {handler!r}])
"""


def test_the_zip_handles_an_event_under_lambda_s_runtime_client(own: Package, cloud: Cloud, tmp_path: Path) -> None:
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    cloud.reset()
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for path in installed_beside("awslambdaric"):
        if path.name.split(".")[0] in RUNTIME:
            (runtime / path.name).symlink_to(path)
    start = START.format(tree=str(own.tree), runtime=str(runtime), handler=HANDLER)
    env = {**cloud.env, "TMPDIR": str(tmp_path)}
    function = Function(command=(own.python, "-I", "-S", "-B", "-c", start), root=own.tree, env=env)
    with running(function, tmp_path / "log") as emulator:
        answer = emulator.invoke(s3_event(cloud.put("china.webp", sample("china.webp"))))
    assert answer.value == STORED, emulator.log


def installed_beside(module: str) -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec(module)
    assert spec
    assert spec.origin
    return list(Path(spec.origin).parents[1].iterdir())


# --- what is in it --------------------------------------------------------------------------------------------------


def test_every_module_has_bytecode_that_is_used_without_its_source(package: Package, tmp_path: Path) -> None:
    """A function's folder is read-only: a module without bytecode is compiled at every cold start."""
    modules = [name for name in files_below(package.tree) if name.endswith(".py")]
    tag = f"cpython-{package.built.target.python.replace('.', '')}"
    assert [m for m in modules if not (package.tree / bytecode_of(m, tag)).exists()] == []
    copy_code(tmp_path)
    shutil.copytree(package.tree / "thumbnailer", tmp_path / "thumbnailer", dirs_exist_ok=True)
    (tmp_path / "thumbnailer" / "model.py").write_text("raise SystemExit('compiled anew')")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from thumbnailer.model import Outcome"
    done = subprocess.run([package.python, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def bytecode_of(module: str, tag: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc".lstrip("/")


def test_the_zip_has_no_demo_and_no_command_line(package: Package) -> None:
    names = set(files_below(package.tree))
    assert {
        "handler/aws_lambda.py",
        "handler/doctor.py",
        "thumbnailer/LICENSE",
        "thumbnailer/backfill/prices.toml",
    } <= names
    assert not {
        name
        for name in names
        if name.startswith(("handler/demo", "handler/backfill", "thumbnailer/cli", "tests", "bench"))
    }


def test_every_distribution_in_the_zip_has_its_metadata_and_licence(package: Package) -> None:
    names = set(files_below(package.tree))
    distributions = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {f"{d}/METADATA" for d in distributions} <= names
    licensed = {name.partition("/")[0] for name in names if "LICENSE" in name.upper()}
    assert {d.partition("-")[0] for d in distributions - licensed} <= WITHOUT_A_LICENCE_IN_ITS_WHEEL


def test_the_zip_has_the_certificates_that_aioboto3_trusts(package: Package) -> None:
    assert "botocore/cacert.pem" in files_below(package.tree)


def test_every_rule_deletes_something(package: Package) -> None:
    idle = {name for name, size in package.built.stripped.items() if not size}
    assert idle <= {"caches", *(["not loadable"] if package.built.target.system is AMAZON_LINUX_2023 else [])}
    assert package.built.stripped[UNNEEDED] > 1_000_000


# --- where it would load --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("python", RUNTIMES)
def test_every_runtime_has_wheels_whose_shared_objects_load_there(
    python: str, architecture: str, tmp_path: Path
) -> None:
    """Read from the files: this machine cannot run those of other Pythons and architectures."""
    target = target_for(python, architecture)
    reachable(lambda: install(target, (), tmp_path))
    strip(tmp_path, target.system)
    objects = read_objects(tmp_path)
    assert len(objects) > 30
    assert problems(objects, target) == []
    assert any("libc.so.6" in object_.versions for object_ in objects)
    shutil.rmtree(tmp_path)  # 130 MB each


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels for python3.13 on x86_64."""
    folder = tmp_path_factory.mktemp("wheels") / "wheels"
    reachable(lambda: install(target_for("3.13", "x86_64"), (), folder))
    return folder


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (target_for("3.13", "arm64"), "is for x86_64, not for aarch64"),
        (target_for("3.12", "x86_64"), "is for another Python than 3.12 on x86_64"),
        (Target("3.13", "x86_64", AMAZON_LINUX_2), "needs GLIBC_2.27 of libm.so.6; Amazon Linux 2 has GLIBC_2.26"),
    ],
)
def test_a_shared_object_for_another_runtime_is_a_problem(wheels: Path, target: Target, problem: str) -> None:
    assert [found for found in problems(read_objects(wheels), target) if problem in found]


def test_a_missing_library_is_a_problem(wheels: Path) -> None:
    objects = [o for o in read_objects(wheels) if "libx265" not in o.path.name]
    (problem,) = problems(objects, target_for("3.13", "x86_64"))
    assert "libheif" in problem
    assert "needs libx265" in problem
    assert "neither inside nor in Amazon Linux 2023" in problem


def test_unknown_symbol_versions_are_a_problem(wheels: Path) -> None:
    bare = System("Bare Linux", "manylinux2014", (), ())
    found = problems(read_objects(wheels), Target("3.13", "x86_64", bare))
    assert [problem for problem in found if "of libc.so.6; Bare Linux has none such" in problem]


def test_libraries_in_a_ring_that_no_module_needs_are_deleted(wheels: Path) -> None:
    """FreeType and HarfBuzz need each other; both are for text only."""
    objects = shared_objects(wheels)
    assert find_unneeded(objects) == set()
    silent = [path for path in objects if "_imagingft" not in path.name]
    gone = {path.name.partition("-")[0] for path in find_unneeded(silent)}
    assert {"libfreetype", "libharfbuzz"} <= gone
    assert not gone & {"libjpeg", "libtiff", "liblzma", "libwebp", "libavif", "libheif", "libvips"}


def test_the_error_for_missing_wheels_has_uv_s_message(tmp_path: Path) -> None:
    """pylibjxl has none for arm64."""
    with pytest.raises(PackingError, match="pylibjxl"):
        reachable(lambda: install(target_for("3.13", "arm64"), ("jxl",), tmp_path))


# --- sizes and bytes ------------------------------------------------------------------------------------------------


def test_the_zip_leaves_room_for_other_layers(package: Package) -> None:
    assert check_size(files_below(package.tree)) < UNZIPPED_LIMIT / 2


def test_layer_and_code_have_together_the_files_of_the_zip(own: Package, dist: Dist) -> None:
    whole, layer, code = (contents(path) for path in (dist.whole, dist.layer, dist.code))
    assert {name.removeprefix("python/"): crc for name, crc in layer.items()} | code == whole
    assert len(layer) + len(code) == len(whole)


def contents(path: Path) -> dict[str, int]:
    """The checksum of each file of an archive."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def test_building_again_gives_the_same_files(own: Package, dist: Dist) -> None:
    """In another process and another folder."""
    again = {name: crc32(path.read_bytes()) for name, path in own.built.files().items()}
    assert contents(dist.whole) == again


def test_the_command_reports_sizes(own: Package, dist: Dist) -> None:
    whole = check_size(files_below(own.tree))
    for said in (dist.whole.name, megabytes(whole), megabytes(dist.layer.stat().st_size)):
        assert said in dist.said
    assert "direct upload" in dist.said
