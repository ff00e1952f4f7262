"""WMT14: its SGML files, Google's archive, and the stages to its binary data."""
