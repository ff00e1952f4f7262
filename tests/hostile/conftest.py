"""The inputs have types that older releases of torch do not know."""

import torch

OLD = not hasattr(torch, "float8_e5m2")
collect_ignore_glob = ["test_*.py"] if OLD else []


def pytest_report_header():
    return "tests/hostile: not run, they want torch 2.1 or later" if OLD else None
