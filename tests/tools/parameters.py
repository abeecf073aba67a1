"""Writes the parameters of both templates and docs/settings.md from the settings: `python -m tests.tools.parameters`.

Each template has regions between the lines `# settings: REGION` and `# end of REGION`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from thumbnailer.renditions import MAX_SIDE
from thumbnailer.settings import PREFIX, SETTINGS, STORAGE_CLASSES, Section, Setting, Text, Words, markdown_table

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = "python -m tests.tools.parameters"
ASCII: Final = "[ -~]{0,%d}"
"""Lambda counts the environment's 4 KB in bytes, so text is ASCII and its length is bounded."""
MOST_TEXT: Final = 1024


def _fields(section: Section) -> list[str]:
    return [setting.field for setting in SETTINGS if setting.section is section]


@dataclass(frozen=True, slots=True)
class Template:
    """A template. `unset` has the YAML that stands for an empty parameter, where the variable is then not left out."""

    path: Path
    without: frozenset[str]
    """fields of settings that are no parameters: they follow from another one or mean nothing there"""
    environment_line: str
    """how one environment variable is written; `{name}` and `{value}` stand for the two"""
    optional_line: str
    """the same for a variable that is left out when its parameter is empty; `{condition}` stands for the test"""
    unset: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> list[Setting]:
        return [setting for setting in SETTINGS if setting.field not in self.without]


ON_LAMBDA: Final = Template(
    ROOT / "deploy" / "template.yaml",
    # Lambda tells its memory size itself
    frozenset({"memory_mb", *_fields(Section.WORKER), *_fields(Section.ON_DEMAND)}),
    "        {name}: {value}",
    "        {name}: !If [{condition}, {value}, !Ref AWS::NoValue]",
    {"sources": "!Ref SourceBucket", "expected_owner": "!Ref AWS::AccountId"},
)
ON_FARGATE: Final = Template(
    ROOT / "deploy" / "fargate.yaml",
    frozenset({"memory_mb", "queue_url", *_fields(Section.ON_DEMAND)}),
    "            - {{Name: {name}, Value: {value}}}",
    "            - !If [{condition}, {{Name: {name}, Value: {value}}}, !Ref AWS::NoValue]",
    {
        "sources": "!Ref SourceBucket",
        "expected_owner": "!Ref AWS::AccountId",
        "workers": "!FindInMap [Sizes, !Ref Cpu, Workers]",
        "in_flight": "!FindInMap [Sizes, !Ref Cpu, InFlight]",
    },
)
TEMPLATES: Final = (ON_LAMBDA, ON_FARGATE)


def parameter(setting: Setting) -> str:
    """The parameter's name: MaxPixels for THUMBNAILER_MAX_PIXELS."""
    return "".join(word.capitalize() for word in setting.variable.removeprefix(PREFIX).split("_"))


def properties(setting: Setting) -> dict[str, str]:
    """The YAML of each property of a parameter that accepts what the setting accepts, or less (`_IN_A_STACK`)."""
    meaning = setting.meaning.replace("Unset:", "Empty:")
    common = {"Type": "String", "Description": _quote(meaning), "Default": _quote(setting.default or "")}
    here = _IN_A_STACK.get(setting.field, {})
    return common | ({} if "AllowedValues" in here else _checks(setting)) | here


def _checks(setting: Setting) -> dict[str, str]:
    kind = setting.kind
    if isinstance(kind, Words):
        return {"AllowedValues": _list(kind.words if setting.default else ("", *kind.words))}
    if isinstance(kind, Text):
        return _pattern(kind.pattern or ASCII % (kind.most_bytes or MOST_TEXT), setting)
    if setting.default is None:
        return _pattern(up_to(kind.most), setting)
    return {"Type": "Number", "MinValue": str(kind.least), "MaxValue": str(kind.most), "Default": setting.default}


def _pattern(pattern: str, setting: Setting) -> dict[str, str]:
    accepts = setting.kind.accepts
    if not setting.default:
        pattern, accepts = f"|{pattern}", f"{accepts}, or empty"
    return {"AllowedPattern": _quote(f"^({pattern})$"), "ConstraintDescription": _quote(accepts)}


def up_to(most: int) -> str:
    """A regular expression for the whole numbers from 1 to `most`, without leading zeros."""
    digits = str(most)
    fewer = f"[1-9][0-9]{{0,{len(digits) - 2}}}"
    smaller = [
        digits[:place] + _digit(int(place == 0), int(digit) - 1) + "[0-9]" * (len(digits) - place - 1)
        for place, digit in enumerate(digits)
        if int(digit) > int(place == 0)
    ]
    return "|".join([fewer, *smaller, digits])


def _digit(least: int, most: int) -> str:
    return f"[{least}-{most}]" if least < most else str(least)


def _list(words: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quote, words))}]"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SIDE: Final = f"({up_to(MAX_SIDE)})"
_QUALITY: Final = f"(:q({up_to(100)}))?"
_RENDITION: Final = (
    "([A-Za-z0-9_-]{1,64}=)?"
    # both sides may be cropped to; with one side, `inside` is the only fit
    f"({_SIDE}x{_SIDE}(:inside|:cover|:smart)?|(x{_SIDE}|{_SIDE}x)(:inside)?)"
    f"((:auto|:jpeg)?{_QUALITY}(:progressive)?(:small)?|:(webp|avif){_QUALITY}(:small)?|:(png|gif){_QUALITY})"
)
_NAMED_TWICE: Final = r"(.*, ?|)([A-Za-z0-9_-]+)([=:,].*|), ?\2([=:,].*|)$"
"""Without a name, a rendition has its size's."""
_IN_A_STACK: Final[Mapping[str, dict[str, str]]] = {
    # without this pattern, a mistake would only show when the function starts
    "renditions": {"AllowedPattern": _quote(f"^(?!{_NAMED_TWICE})({_RENDITION}(, ?(?!$)|$))+$")},
    "key": {
        "AllowedPattern": _quote(r"^(|(?=.*\{(key|stem)\})([^{}]|\{(key|name|ext|dir|stem)\})*)$"),
        "MaxLength": "512",
    },
    "destination": {"MaxLength": "70"},
    "sources": {"Description": _quote("Only events of these buckets, a comma list of globs. Empty: SourceBucket.")},
    "expected_owner": {"Description": _quote("The account of both buckets. Empty: the stack's.")},
    "on_delete": {
        "Description": _quote(
            "Whether thumbnails are deleted or kept when their source is deleted. With keep, the role may not delete."
        )
    },
    # only directory buckets have EXPRESS_ONEZONE
    "storage_class": {"AllowedValues": _list(("", *(word for word in STORAGE_CLASSES if word != "EXPRESS_ONEZONE")))},
    "kms_key_id": {
        "Description": _quote(
            "The KMS key for thumbnails, and the default key of a destination bucket made here; needs Sse aws:kms or "
            "aws:kms:dsse. The key's policy must let the role use it."
        ),
        # the role's policy needs the key's ARN
        "AllowedPattern": _quote(r"^(|arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+)$"),
        "ConstraintDescription": _quote("the ARN of a KMS key (not an id or an alias), or empty"),
    },
    "stop_timeout": {
        "Description": _quote(
            "Seconds from SIGTERM to the worker's end; unfinished messages go back to the queue. ECS waits 10 s longer."
        ),
        # the keys of the mapping ContainerStopTimeout; ECS waits for at most 120 s
        "AllowedValues": _list(("5", "10", "15", "20", "25", "30", "45", "60", "90", "110")),
    },
    "port": {"MinValue": "1024"},
}
"""Properties that differ in a stack, by setting: what a template checks more strictly, and what it adds."""


def regions(template: Template) -> dict[str, list[str]]:
    """The lines of each region of a template."""
    settings = template.settings()
    optional = [parameter(setting) for setting in settings if not setting.default]
    return {
        "groups": [line for section in Section for line in _group(section, settings)],
        "parameters": [line for setting in settings for line in _parameter(setting)],
        "conditions": [f'  Has{name}: !Not [!Equals [!Ref {name}, ""]]' for name in optional],
        "environment": [_variable(setting, template) for setting in settings],
    }


def _group(section: Section, settings: list[Setting]) -> list[str]:
    """A group of the console's form."""
    names = ", ".join(parameter(setting) for setting in settings if setting.section is section)
    label = f"      - Label: {{default: {_quote(f'Settings: {section}')}}}"
    return [label, f"        Parameters: [{names}]"] if names else []


def _parameter(setting: Setting) -> list[str]:
    return [f"  {parameter(setting)}:", *(f"    {name}: {value}" for name, value in properties(setting).items())]


def _variable(setting: Setting, template: Template) -> str:
    """A line of the environment. An empty parameter leaves its variable out, or takes the template's `unset`."""
    condition, value = f"Has{parameter(setting)}", f"!Ref {parameter(setting)}"
    is_optional = not setting.default and setting.field not in template.unset
    if setting.field in template.unset:
        value = f"!If [{condition}, {value}, {template.unset[setting.field]}]"
    if setting.field == "expected_owner":  # one header cannot name two owners
        is_optional, condition = True, "OneOwner"
    line = template.optional_line if is_optional else template.environment_line
    return line.format(name=setting.variable, value=value, condition=condition)


def fill(text: str, made: Mapping[str, list[str]]) -> str:
    """`text` with its regions replaced. Raises ValueError if a region is missing."""
    for name, lines in made.items():
        region = re.search(rf"^( *# settings: {name}\b.*\n)(?:.*\n)*?( *# end of {name}\n)", text, re.MULTILINE)
        if region is None:
            raise ValueError(f"there is no region {name!r}")
        body = "".join(f"{line}\n" for line in lines)
        text = text[: region.start()] + region[1] + body + region[2] + text[region.end() :]
    return text


def settings_page() -> str:
    """docs/settings.md."""
    sections = [f"## {section}\n\n{markdown_table(section)}\n" for section in Section]
    return f"""# Settings

<!-- Made from thumbnailer/settings.py by `{COMMAND}`. -->

Settings are environment variables. An invalid or misspelt one stops the program at its start; the message lists every
mistake and what its variable accepts. The templates have a parameter for each setting: `MaxPixels` for
`THUMBNAILER_MAX_PIXELS`.

`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, `AWS_REGION` and AWS's credential variables have their usual meaning.

{chr(10).join(sections)}"""


def made_files() -> dict[Path, str]:
    """The text that each file should have."""
    made = {template.path: fill(template.path.read_text(), regions(template)) for template in TEMPLATES}
    return made | {ROOT / "docs" / "settings.md": settings_page()}


if __name__ == "__main__":
    for path, text in made_files().items():
        path.write_text(text)
