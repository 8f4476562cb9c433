"""D10: a process has what it needs of the machine."""

import subprocess
import sys

ASK = """
import resource
from app.core.processes import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
raise_open_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_may_open_as_many_files_as_the_system_allows():
    told = subprocess.run([sys.executable, "-c", ASK.format(hard=2000)], check=True, capture_output=True)
    assert told.stdout.strip() == b"(2000, 2000)"
