"""Installed packages, and whether their versions fit together.

Only metadata and files of packages are read and nothing large is imported, so that it takes
milliseconds and also works with a broken fairseq.
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
#: package -> extra, other than ``fairseq``
_EXTRAS = {
    **dict.fromkeys(("matplotlib", "scipy"), "report"),
    **dict.fromkeys(("rich", "snakemake", "yaml"), "workflow"),
    **dict.fromkeys(("h5py", "sklearn", "statsmodels"), "analysis"),
    "ctranslate2": "ctranslate2",
}
#: packages that results depend on
_RECORDED = ("torch", *FAIRSEQ_DISTRIBUTIONS, "numpy", "sacrebleu", "sentencepiece")

_HOLDS = {
    **{"<": operator.lt, "<=": operator.le, "==": operator.eq},
    **{"!=": operator.ne, ">=": operator.ge, ">": operator.gt},
}

# undeclared requirements of the official release: torch 2.6 refuses to load its checkpoints,
# numpy 1.24 has no np.float
UNDECLARED = {"official": ("torch<2.6", "numpy<1.24")}


@dataclass(frozen=True)
class Fairseq:
    """The fairseq that ``import fairseq`` would import."""

    folder: Path
    version: str
    distribution: Optional[str] = None  # None: a folder on the path without pip metadata
    requirements: tuple[str, ...] = ()

    @property
    def flavour(self) -> str:
        """Return ``official``, ``fixed``, or ``checkout`` for a source tree."""
        if (self.folder.parent / "setup.py").is_file():
            return "checkout"
        return "fixed" if self.distribution == "fairseq-fixed" else "official"

    @property
    def imports_from_python_311(self) -> bool:
        """Return whether Python 3.11 accepts the dataclasses of its configuration."""
        configs = self.folder / "dataclass" / "configs.py"
        return not (configs.is_file() and "= CommonConfig()" in configs.read_text("utf-8"))

    def needs(self, part: str) -> list[str]:
        """Return its requirements for another distribution, undeclared ones last."""
        requirements = (*self.requirements, *UNDECLARED.get(self.flavour, ()))
        return [requirement for requirement in requirements if _project(requirement) == part]


@dataclass(frozen=True)
class Installed:
    """Versions of Python and of the installed packages."""

    python: tuple[int, ...]
    versions: dict[str, str] = field(default_factory=dict)  # distribution -> version
    fairseq: Optional[Fairseq] = None


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    part: str
    found: str
    problem: Optional[str] = None
    remedy: Optional[str] = None

    @property
    def fits(self) -> bool:
        """Return whether this part has no problem."""
        return self.problem is None


def require(*packages: str) -> None:
    """Raise an error with the command to install if a package cannot be used."""
    for package in packages:
        if _folder(package) is None:
            raise LotteryError(
                f"{package} is not installed: {_install_missing(installed(), package)}"
            )
    if "fairseq" in packages:
        fairseq = _examine_fairseq(installed())
        if not fairseq.fits:
            raise LotteryError(f"{fairseq.problem}: {fairseq.remedy}")


def installed() -> Installed:
    """Return the versions in the running interpreter."""
    names = (*REQUIRED, *FAIRSEQ_DISTRIBUTIONS, "pip")
    versions = {name: version for name in names if (version := _version(name))}
    return Installed(sys.version_info[:3], versions, _fairseq())


def versions() -> dict[str, str]:
    """Return the versions of installed packages that results depend on."""
    recorded = {"python": ".".join(map(str, sys.version_info[:3])), "fairseq_lottery": __version__}
    recorded.update({name: version for name in _RECORDED if (version := _version(name))})
    return recorded


def examine(here: Installed) -> list[Finding]:
    """Return a finding for every part."""
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
    remedy = f"{remove} && {_pip_install(here, 'fairseq-lottery[fairseq]')}" if problem else None
    return Finding(part, found, problem, remedy)


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
    """Return the command that installs a part and, if there is a fairseq, nothing else.

    The extras would install a second fairseq over a source tree of the user.
    """
    if here.fairseq is None:
        return _pip_install(here, f"fairseq-lottery[{_EXTRAS.get(part, 'fairseq')}]")
    distribution = {"yaml": "pyyaml", "sklearn": "scikit-learn"}.get(part, part)
    return _pip_install(here, [distribution, *here.fairseq.needs(part)][-1])


def _pip_install(here: Installed, requirement: str) -> str:
    """Return the command for a requirement; below Python 3.11, pip 24.1 refuses omegaconf 2.0."""
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
    """Return the folder of a top-level package without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _fairseq() -> Optional[Fairseq]:
    folder = _folder("fairseq")
    if folder is None:
        return None
    for name in FAIRSEQ_DISTRIBUTIONS:
        if _version(name) and _owns(metadata.distribution(name), folder):
            # requirements with a marker are for another Python or for an extra
            declared = [r for r in metadata.requires(name) or () if ";" not in r]
            return Fairseq(folder, metadata.version(name), name, tuple(declared))
    text = folder / "version.txt"
    version = text.read_text("utf-8").strip() if text.is_file() else "of unknown version"
    return Fairseq(folder, version)


def _owns(distribution: metadata.Distribution, folder: Path) -> bool:
    """Return whether a distribution, installed as files or editable, is in this folder."""
    source = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    from urllib.request import url2pathname  # a slow import

    editable = Path(url2pathname(urlparse(source).path)) / folder.name
    files = Path(str(distribution.locate_file(folder.name)))
    return folder.resolve() in (editable.resolve(), files.resolve())


def _cuda() -> str:
    """Return the CUDA version of torch and whether there is a driver, from their files."""
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
    """Return the distribution of a requirement."""
    name = re.match(r"[\w.-]*\w", requirement)
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


def _satisfies(version: str, requirement: str) -> bool:
    """Return whether a version satisfies a requirement's plain bounds; others are ignored."""
    bounds = re.findall(r"(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*(?=,|\)|$)", requirement)
    return all(_HOLDS[sign](_release(version), _release(bound)) for sign, bound in bounds)


def _release(version: str) -> tuple[int, ...]:
    """Return a version as comparable numbers: ``2.13.0+cpu`` -> ``(2, 13, 0, 0)``."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers.group().split(".")][:4] if numbers else []
    return tuple(parts + [0] * (4 - len(parts)))
