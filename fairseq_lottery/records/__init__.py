"""What a workflow keeps in its folder as JSON, for its next start and for reports.

The dataclasses here are the schema: the annotation of a field says which values it may have.
Anybody may have changed these files, so they are read by ``schema.parse`` only.
"""
