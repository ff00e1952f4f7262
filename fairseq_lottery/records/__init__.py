"""JSON files in the folder of a workflow, for its next start and for reports.

The dataclasses are the schema: the annotation of a field defines its valid values. The files are
untrusted, so only ``schema.parse`` reads them.
"""
