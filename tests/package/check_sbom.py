#!/usr/bin/env python3
"""The SBOM of a folder of packages, against the packages themselves: each is in it with its sum and all its files, each
library that a program links is in it, and SPDX's own tools (Python package spdx-tools) find nothing wrong with it.

  check_sbom.py --packages DIR [--arm64-root ROOT]

ROOT is where packages for arm64 were compiled: whose versions of libraries must be told for them.
"""
import argparse
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
except ImportError:
    parse_file = None


def run(*cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, encoding="utf-8", **kw).stdout


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Check:
    def __init__(self, folder, root):
        self.folder, self.root = folder, root
        found = glob.glob(os.path.join(folder, "sekisho-*.spdx.json"))
        assert len(found) == 1, "%d SBOMs in %s" % (len(found), folder)
        self.path = found[0]
        with open(self.path, encoding="utf-8") as f:
            self.doc = json.load(f)
        self.packages = {p["SPDXID"]: p for p in self.doc["packages"]}
        self.files = {f["SPDXID"]: f for f in self.doc["files"]}
        self.artefacts = [p for p in sorted(glob.glob(folder + "/*.deb") + glob.glob(folder + "/*.rpm"))
                          if not re.search(r"\.src\.rpm$|-dbgsym_|-debuginfo-", p)]

    def related(self, ident, kind):
        return [r["relatedSpdxElement"] for r in self.doc["relationships"]
                if r["spdxElementId"] == ident and r["relationshipType"] == kind]

    def entry(self, artefact):
        found = [p for p in self.doc["packages"] if p.get("packageFileName") == os.path.basename(artefact)]
        assert len(found) == 1, "%s: %d entries" % (artefact, len(found))
        return found[0]

    # --- cases ---

    def names_every_package(self):
        assert self.artefacts, "no packages"
        listed = {p["packageFileName"] for p in self.doc["packages"] if "packageFileName" in p}
        assert listed == {os.path.basename(p) for p in self.artefacts}, listed
        for p in self.artefacts:
            assert self.entry(p)["checksums"] == [{"algorithm": "SHA256", "checksumValue": sha256(p)}], p

    def names_every_file(self):
        for p in self.artefacts:
            listed = {self.files[i]["fileName"]: self.files[i] for i in self.related(self.entry(p)["SPDXID"], "CONTAINS")}
            with tempfile.TemporaryDirectory() as d:
                unpack(p, d)
                inside = {"./" + os.path.relpath(os.path.join(place, n), d): os.path.join(place, n)
                          for place, _, names in os.walk(d) for n in names if not os.path.islink(os.path.join(place, n))}
                assert set(inside) == set(listed), "%s: %s" % (p, set(inside) ^ set(listed))
                for name, path in inside.items():
                    assert {"algorithm": "SHA256", "checksumValue": sha256(path)} in listed[name]["checksums"], (p, name)
                self.libraries(p, {n: path for n, path in inside.items() if "/bin/" in n}, listed)

    def libraries(self, artefact, programs, listed):
        for name, path in programs.items():
            needed = set(re.findall(r"NEEDED +(\S+)$", run("objdump", "-p", path), re.M))
            ident = listed[name]["SPDXID"]
            linked = {self.packages[i]["summary"].split()[0] for i in self.related(ident, "DYNAMIC_LINK")}
            assert {n for n in needed if not n.startswith("ld-linux")} == linked, (artefact, name, needed ^ linked)
            inside = [self.packages[i]["name"] for i in self.related(ident, "STATIC_LINK")]
            assert inside == (["vectorscan"] if artefact.endswith(".rpm") and name.endswith("/sekisho") else []), inside

    def tells_versions_and_licences(self):
        for p in self.doc["packages"]:
            assert p["licenseConcluded"] not in ("", "NOASSERTION"), p["name"]
        static = {p["summary"]: p["versionInfo"] for p in self.doc["packages"] if p.get("summary", "").startswith("libhs.a")}
        ask = ("dpkg-query", "-W", "-f", "${Version}")
        want = {"libhs.a of Debian": run(*ask, "libvectorscan5")}
        if any(p.endswith(".aarch64.rpm") for p in self.artefacts):
            want["libhs.a of Debian arm64"] = run(*ask, "--admindir=%s/var/lib/dpkg" % self.root, "libvectorscan5:arm64")
        assert static == want, (static, want)

    def tells_the_architecture(self):
        """Of the Debian packages that a program of a DEB links: the program's own."""
        for p in (a for a in self.artefacts if a.endswith(".deb")):
            arch = run("dpkg-deb", "-f", p, "Architecture").strip()
            for ident in self.related(self.entry(p)["SPDXID"], "CONTAINS"):
                for library in self.related(ident, "DYNAMIC_LINK"):
                    purl = self.packages[library]["externalRefs"][0]["referenceLocator"]
                    assert purl.endswith("?arch=" + arch), (p, purl)

    def is_valid(self):
        messages = validate_full_spdx_document(parse_file(self.path), "SPDX-2.3")
        assert not messages, "; ".join(m.validation_message for m in messages)


def unpack(path, folder):
    if path.endswith(".deb"):
        run("dpkg-deb", "-x", path, folder)
    else:
        with subprocess.Popen(["rpm2cpio", path], stdout=subprocess.PIPE) as archive:
            subprocess.run(["cpio", "-idm", "--quiet", "--no-absolute-filenames"], stdin=archive.stdout, cwd=folder, check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", required=True, metavar="DIR")
    p.add_argument("--arm64-root", metavar="ROOT")
    args = p.parse_args()
    check = Check(os.path.abspath(args.packages), args.arm64_root)
    passed = failed = skipped = 0
    for name in ("names_every_package", "names_every_file", "tells_versions_and_licences", "tells_the_architecture", "is_valid"):
        if name == "is_valid" and parse_file is None:
            print("is_valid: SKIP: Python package spdx-tools is not here")
            skipped += 1
            continue
        try:
            getattr(check, name)()
            print("ok   " + name)
            passed += 1
        except (AssertionError, KeyError, OSError, subprocess.SubprocessError) as e:
            print("FAIL %s: %s" % (name, e))
            failed += 1
    print("check_sbom: %d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
