"""What is installed here, and whether it fits together.

Everything is read from the metadata and the files of what is installed: nothing heavy is
imported, so that an answer takes milliseconds and a broken fairseq can still be described.
"""

import json
import operator
import re
import sys
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Optional
from urllib.parse import urlparse

from fairseq_lottery import __version__
from fairseq_lottery.errors import LotteryError

REQUIRED = (
    *("torch", "numpy", "fairseq", "hydra-core", "omegaconf"),
    *("safetensors", "sacrebleu", "sentencepiece"),
)
FAIRSEQ_DISTRIBUTIONS = ("fairseq", "fairseq-fixed")  # both own the import name "fairseq"
#: packages of other extras than ``fairseq``
_EXTRAS = {
    **dict.fromkeys(("matplotlib", "scipy"), "report"),
    **dict.fromkeys(("rich", "snakemake", "yaml"), "workflow"),
    "ctranslate2": "ctranslate2",
}
#: what numbers depend on
_RECORDED = ("torch", *FAIRSEQ_DISTRIBUTIONS, "numpy", "sacrebleu", "sentencepiece")

_HOLDS = {
    **{"<": operator.lt, "<=": operator.le, "==": operator.eq},
    **{"!=": operator.ne, ">=": operator.ge, ">": operator.gt},
}

# What the official release needs and does not declare: torch 2.6 refuses to load its
# checkpoints, numpy 1.24 has no np.float.
UNDECLARED = {"official": ("torch<2.6", "numpy<1.24")}


@dataclass(frozen=True)
class Fairseq:
    """The fairseq that ``import fairseq`` would give."""

    folder: Path
    version: str
    distribution: Optional[str] = None  # None: a folder on the path that pip knows nothing of
    requirements: tuple[str, ...] = ()

    @property
    def flavour(self) -> str:
        """``official``, ``fixed``, or a user's own ``checkout``."""
        if (self.folder.parent / "setup.py").is_file():
            return "checkout"
        return "fixed" if self.distribution == "fairseq-fixed" else "official"

    @property
    def imports_from_python_311(self) -> bool:
        """Whether its configuration is made of dataclasses that Python 3.11 accepts."""
        configs = self.folder / "dataclass" / "configs.py"
        return not (configs.is_file() and "= CommonConfig()" in configs.read_text("utf-8"))

    def needs(self, part: str) -> list[str]:
        """What it asks of another distribution, the undeclared last."""
        every = (*self.requirements, *UNDECLARED.get(self.flavour, ()))
        return [requirement for requirement in every if _project(requirement) == part]


@dataclass(frozen=True)
class Installed:
    """What was found: the input of every verdict."""

    python: tuple[int, ...]
    versions: dict[str, str] = field(default_factory=dict)  # distribution -> version
    fairseq: Optional[Fairseq] = None


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    part: str
    found: str
    problem: Optional[str] = None
    mend: Optional[str] = None

    @property
    def fits(self) -> bool:
        """Whether nothing is wrong with this part."""
        return self.problem is None


def require(*packages: str) -> None:
    """Refuse, in one sentence with the command that helps, where a package cannot be used."""
    for package in packages:
        if _folder(package) is None:
            raise LotteryError(
                f"{package} is not installed: {_install_missing(installed(), package)}"
            )
    if "fairseq" in packages:
        fairseq = _examine_fairseq(installed())
        if not fairseq.fits:
            raise LotteryError(f"{fairseq.problem}: {fairseq.mend}")


def installed() -> Installed:
    """Look around in the running interpreter."""
    names = (*REQUIRED, *FAIRSEQ_DISTRIBUTIONS, "pip")
    versions = {name: version for name in names if (version := _version(name))}
    return Installed(sys.version_info[:3], versions, _fairseq())


def versions() -> dict[str, str]:
    """The versions of what numbers depend on, as far as it is installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3])), "fairseq_lottery": __version__}
    found.update({name: version for name in _RECORDED if (version := _version(name))})
    return found


def examine(here: Installed) -> list[Finding]:
    """A verdict on every part."""
    findings = [Finding("python", f"{'.'.join(map(str, here.python))} ({sys.executable})")]
    for part in REQUIRED:
        is_fairseq = part == "fairseq"
        findings.append(_examine_fairseq(here) if is_fairseq else _examine_package(here, part))
    user_dir = str(Path(__file__).resolve().parent)
    return [*findings, Finding("cuda", _cuda()), Finding("user-dir", user_dir)]


def _examine_fairseq(here: Installed) -> Finding:
    part, fairseq = "fairseq", here.fairseq
    if fairseq is None:
        return Finding(part, "-", "fairseq is not installed", _install_missing(here, part))
    owners = [name for name in FAIRSEQ_DISTRIBUTIONS if name in here.versions]
    if len(owners) > 1:
        problem = "fairseq and fairseq-fixed are both installed and overwrite each other"
    elif here.python >= (3, 11) and not fairseq.imports_from_python_311:
        problem = f"fairseq {fairseq.version} cannot be imported on Python 3.11 and later"
    else:
        problem = None
    found = f"{fairseq.version}, {fairseq.flavour} ({fairseq.folder})"
    remove = f"pip uninstall -y {' '.join(owners) or 'fairseq'}"
    mend = f"{remove} && {_pip_install(here, 'fairseq-lottery[fairseq]')}" if problem else None
    return Finding(part, found, problem, mend)


def _examine_package(here: Installed, part: str) -> Finding:
    version = here.versions.get(part)
    if version is None:
        return Finding(part, "-", f"{part} is not installed", _install_missing(here, part))
    if here.fairseq is not None:
        for need in here.fairseq.needs(part):
            if not _satisfies(version, need):
                problem = f"fairseq {here.fairseq.version} needs {need}"
                return Finding(part, version, problem, _pip_install(here, need))
    return Finding(part, version)


def _install_missing(here: Installed, part: str) -> str:
    """The command that adds a part; with a fairseq in place it touches nothing else.

    The extras would put a second fairseq over a checkout of the user's own.
    """
    if here.fairseq is None:
        return _pip_install(here, f"fairseq-lottery[{_EXTRAS.get(part, 'fairseq')}]")
    distribution = "pyyaml" if part == "yaml" else part
    return _pip_install(here, [distribution, *here.fairseq.needs(part)][-1])


def _pip_install(here: Installed, requirement: str) -> str:
    """The command for one requirement; below Python 3.11, pip 24.1 refuses omegaconf 2.0."""
    command = f'pip install "{requirement}"'
    if here.python < (3, 11) and _satisfies(here.versions.get("pip", "0"), "pip>=24.1"):
        return f'pip install "pip<24.1" && {command}'
    return command


def _version(distribution: str) -> Optional[str]:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _folder(package: str) -> Optional[Path]:
    """Where a top-level package lies, found without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _fairseq() -> Optional[Fairseq]:
    folder = _folder("fairseq")
    if folder is None:
        return None
    for name in FAIRSEQ_DISTRIBUTIONS:
        if _version(name) and _owns(metadata.distribution(name), folder):
            # a requirement behind a marker belongs to another Python or to an extra
            declared = [r for r in metadata.requires(name) or () if ";" not in r]
            return Fairseq(folder, metadata.version(name), name, tuple(declared))
    text = folder / "version.txt"
    version = text.read_text("utf-8").strip() if text.is_file() else "of unknown version"
    return Fairseq(folder, version)


def _owns(distribution: metadata.Distribution, folder: Path) -> bool:
    """Whether a distribution, installed as files or editable, is the one in this folder."""
    source = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    from urllib.request import url2pathname  # slow: it can load web pages as well

    editable = Path(url2pathname(urlparse(source).path)) / folder.name
    files = Path(str(distribution.locate_file(folder.name)))
    return folder.resolve() in (editable.resolve(), files.resolve())


def _cuda() -> str:
    """What torch was built for, and whether a driver is there, read from their files."""
    folder = _folder("torch")
    if folder is None:
        return "-"
    version = folder / "version.py"
    source = version.read_text("utf-8") if version.is_file() else ""
    build = re.search(r"^cuda\b.*= '(.+)'$", source, re.MULTILINE)
    driver = Path("/proc/driver/nvidia/version").is_file()
    return (
        f"torch built {f'for CUDA {build.group(1)}' if build else 'without CUDA'}, "
        f"{'NVIDIA driver found' if driver else 'no NVIDIA driver'}"
    )


def _project(requirement: str) -> str:
    """The distribution that a requirement names."""
    name = re.match(r"[\w.-]*\w", requirement)
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


def _satisfies(version: str, requirement: str) -> bool:
    """Whether a version fits a requirement's plain bounds; other bounds count as met."""
    bounds = re.findall(r"(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*(?=,|\)|$)", requirement)
    return all(_HOLDS[sign](_release(version), _release(bound)) for sign, bound in bounds)


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` -> ``(2, 13, 0, 0)``, so that versions compare as numbers."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers.group().split(".")][:4] if numbers else []
    return tuple(parts + [0] * (4 - len(parts)))
