"""Given to pytest with ``-p with_plugin``: fairseq with this plugin, as under ``--user-dir``."""

import fairseq  # noqa: F401 - loaded first, so that the package registers its plugin

import fairseq_lottery
import fairseq_lottery.plugin  # noqa: F401


def pytest_report_header(config):
    return f"with the plugin of {fairseq_lottery.__file__}"
