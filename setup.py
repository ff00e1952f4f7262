import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The package's version, read from its source: importing it here would need fairseq."""
    source = (HERE / "fairseq_lottery" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE).group(1)


# A bare install requires nothing, so it changes no version that is installed already.
# Two fairseqs share one import name: the official release stops at Python 3.10 and before
# torch 2.6, its maintained fork takes over from there.
TORCH = ["torch>=1.12", "numpy", "safetensors", "zstandard>=0.19"]
FAIRSEQ = [
    *TORCH,
    'fairseq==0.12.2; python_version < "3.11"',
    'torch<2.6; python_version < "3.11"',
    'numpy<1.24; python_version < "3.11"',
    'fairseq-fixed==0.12.3.1; python_version >= "3.11"',
    'torch>=2.6; python_version >= "3.11"',
    "sacrebleu",
    "sentencepiece",
]
# Snakemake 9 wants Python 3.11; trainings may run in another environment (train_env)
WORKFLOW = [
    "pyyaml",
    "rich",
    'snakemake>=9.15,<10; python_version >= "3.11"',
    'snakemake-executor-plugin-slurm>=2.8; python_version >= "3.11"',
]
REPORT = [*TORCH, "matplotlib", "sacrebleu", "scipy>=1.11"]
# agreement of heads over seeds; looking inside models
ANALYSIS = ["scipy>=1.11", "statsmodels", "scikit-learn>=1.3", "h5py"]
# its converter loads checkpoints in a way that the torch of the classic stack does not know
CTRANSLATE2 = ['ctranslate2>=4.8; python_version >= "3.11"']
# torch's loader of extensions wants it, to compile the sparse product with the machine's compiler
SPARSE = ["ninja"]
DEMO = [*FAIRSEQ, *WORKFLOW, *REPORT, *SPARSE]
TEST = [
    *("hypothesis", "pytest", "pytest-xdist", "ruff", "mypy", "pip", "setuptools", "wheel"),
    "sacremoses",  # of examples/wmt14
]

setup(
    name="fairseq-lottery",
    version=version(),
    description="Lottery tickets and magnitude pruning for fairseq translation",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    author="fairseq_lottery contributors",
    python_requires=">=3.9",
    packages=find_packages(include=["fairseq_lottery", "fairseq_lottery.*"]),
    package_data={
        "fairseq_lottery": [
            *("py.typed", "demo/demo.yaml", "workflow/engine/Snakefile", "report/published/*"),
            *("report/page.css", "sparse/native/*", "workflow/engine/*.sh"),
        ]
    },
    extras_require={
        "torch": TORCH,
        "fairseq": FAIRSEQ,
        "workflow": WORKFLOW,
        "report": REPORT,
        "analysis": ANALYSIS,
        "sparse": SPARSE,
        "ctranslate2": CTRANSLATE2,
        "demo": DEMO,
        "test": TEST,
    },
    entry_points={"console_scripts": ["fairseq-lottery = fairseq_lottery.cli.main:main"]},
    zip_safe=False,
)
