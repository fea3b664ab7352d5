"""Which folders debug information names for its source."""
import os
import re
import subprocess


def folders(path):
    # Of whatever machine: readelf decompresses by itself, which this machine's objcopy does for its own files alone.
    out = subprocess.run(["readelf", "-z", "-p", ".debug_line_str", path], check=True, capture_output=True, text=True).stdout
    return sorted({os.path.dirname(x) if x.endswith((".c", ".h", ".S")) else x for x in re.findall(r"^ +\[ *\w+\] +(.*/.*)$", out, re.M)})


def strange(path, version):
    """Those that no other machine has: neither the system's (or its cross compiler's) nor where our source package can be unpacked."""
    found = folders(path)
    assert any(x.startswith("/usr/src/sekisho-" + version + "/") for x in found), found
    return [x for x in found if not re.match(r"/usr/((aarch64-linux-gnu/)?include|lib|src/sekisho-" + re.escape(version) + ")(/|$)", x)]
