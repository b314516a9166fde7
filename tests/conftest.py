"""Settings that must stand before any test imports a framework."""

import os

# MindSpore reads its log level once, at import; 3 leaves errors. Level 5 makes the import itself fail.
os.environ["GLOG_v"] = "3"
