"""Settings that must stand before any test imports a framework."""

import os

# MindSpore reads its log level once, at import; 3 leaves errors. Level 5 makes the import itself fail.
os.environ["GLOG_v"] = "3"
# The networks of the tests are small: threads that wait for each other cost more than they bring, most of all when
# pytest-xdist runs several processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
