"""Code masks and values close to their entropy; docs/format.md defines the streams."""
