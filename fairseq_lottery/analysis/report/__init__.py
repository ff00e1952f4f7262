"""Figures of measures, and the section of a report about the inside of the models."""

from fairseq_lottery.analysis.report.analysis_sections import section as section
