"""Which folders debug information names for its source."""
import os
import re
import subprocess
import tempfile


def folders(path):
    with tempfile.TemporaryDirectory() as d:
        plain = os.path.join(d, "plain")
        subprocess.run(["objcopy", "--decompress-debug-sections", path, plain], check=True)
        out = subprocess.run(["readelf", "-p", ".debug_line_str", plain], check=True, capture_output=True, text=True).stdout
    return sorted({os.path.dirname(x) if x.endswith((".c", ".h", ".S")) else x for x in re.findall(r"^ +\[ *\w+\] +(.*/.*)$", out, re.M)})


def strange(path, version):
    """Those that no other machine has: neither the system's nor where our source package can be unpacked."""
    found = folders(path)
    assert any(x.startswith("/usr/src/sekisho-" + version + "/") for x in found), found
    return [x for x in found if not re.match(r"/usr/(include|lib|src/sekisho-" + re.escape(version) + ")(/|$)", x)]
