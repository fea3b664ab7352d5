#!/usr/bin/env python3
"""Makes the package for AWS Systems Manager Distributor from DEB and RPM packages.

    build.sh PACKAGESDIR OUTDIR

Takes `sekisho` and `sekisho-rules` of PACKAGESDIR, of every architecture that is there, and writes to OUTDIR manifest.json
and one zip a family of platforms, with install.sh, update.sh and uninstall.sh. The same input gives the same bytes: times
are SOURCE_DATE_EPOCH (else the last commit's, else 1980), order and modes are fixed. Needs dpkg-deb for DEBs, rpm for RPMs.
"""
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = [("common.sh", 0o644), ("install.sh", 0o755), ("uninstall.sh", 0o755), ("update.sh", 0o755)]
NAMES = ("sekisho", "sekisho-rules")
# As the SSM agent names them; `9.*` is 9 and 9.4.
PLATFORMS = {"deb": {"debian": ["12"], "ubuntu": ["22.04", "24.04"]},
             "rpm": {"amazon": ["2023"], "redhat": ["9.*"], "rocky": ["9.*"], "almalinux": ["9.*"], "centos": ["9.*"]}}
ARCHITECTURES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "arm64", "all": "any", "noarch": "any"}


def die(text):
    sys.exit("packaging/ssm/build.sh: " + text)


def ask(*command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        die("%s is not installed" % command[0])
    except subprocess.CalledProcessError as e:
        die("%s: %s" % (command[-1], e.stderr.strip()))


def describe(path, form):
    """(name, version as the package manager tells it, upstream version, architecture)."""
    if form == "deb":
        name, version, arch = (ask("dpkg-deb", "-f", path, field).strip() for field in ("Package", "Version", "Architecture"))
        upstream = version.split(":")[-1].rpartition("-")[0] or version
    else:
        name, upstream, release, arch = ask("rpm", "-qp", "--nosignature", "--qf",
                                            "%{NAME} %{VERSION} %{RELEASE} %{ARCH}", path).split()
        version = upstream + "-" + release
    if arch not in ARCHITECTURES:
        die("%s: architecture %s is not one of %s" % (path, arch, ", ".join(sorted(ARCHITECTURES))))
    return name, version, upstream, ARCHITECTURES[arch]


def find(folder, form):
    """{(name, architecture): (file, version)}, and the upstream version."""
    found, versions = {}, set()
    for file in sorted(os.listdir(folder)):
        if not file.endswith("." + form) or file.endswith(".src.rpm"):
            continue
        name, version, upstream, arch = describe(os.path.join(folder, file), form)
        if name not in NAMES:
            continue
        if (name, arch) in found:
            die("%s and %s are both %s for %s: leave one of them" % (found[name, arch][0], file, name, arch))
        found[name, arch] = file, version
        versions.add(upstream)
    if len(versions) > 1:
        die("the %s packages are of different versions: %s" % (form, ", ".join(sorted(versions))))
    return found, versions.pop() if versions else ""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def epoch():
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        got = subprocess.run(["git", "-C", HERE, "log", "-1", "--format=%ct"], capture_output=True, text=True)
        given = got.stdout.strip() if got.returncode == 0 else ""
    then = datetime.datetime.fromtimestamp(int(given or 0), datetime.timezone.utc)
    return max(then.timetuple()[:6], (1980, 1, 1, 0, 0, 0))


def write_zip(path, members):
    """members: (name, mode, bytes)."""
    when = epoch()
    with zipfile.ZipFile(path, "w") as z:
        for name, mode, data in members:
            info = zipfile.ZipInfo(name, when)
            info.create_system = 3
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith((".deb", ".rpm")) else zipfile.ZIP_DEFLATED
            z.writestr(info, data)


def write_family(folder, out, form, found, version):
    """The zip's name and SHA-256, and the architectures that it serves."""
    index, members = [], []
    for (name, arch), (file, full) in sorted(found.items()):
        data = read(os.path.join(folder, file))
        index.append("%s %s %s %s %s\n" % (arch, name, full, file, digest(data)))
        members.append((file, 0o644, data))
    scripts = [(name, mode, read(os.path.join(HERE, name))) for name, mode in SCRIPTS]
    target = "sekisho_%s_%s.zip" % (version, form)
    write_zip(os.path.join(out, target), scripts + [("packages.txt", 0o644, "".join(index).encode())] + members)
    serves = sorted(arch for name, arch in found if name == "sekisho")
    for arch in serves:
        if not {("sekisho-rules", arch), ("sekisho-rules", "any")} & set(found):
            die("%s has no sekisho-rules (%s) beside sekisho" % (folder, form))
    return target, digest(read(os.path.join(out, target))), serves


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, out = sys.argv[1:]
    if not os.path.isdir(folder):
        die("%s is not a folder" % folder)
    os.makedirs(out, exist_ok=True)
    manifest = {"schemaVersion": "2.0", "version": "", "publisher": "Sekisho", "packages": {}, "files": {}}
    for form, platforms in PLATFORMS.items():
        found, version = find(folder, form)
        if not any(name == "sekisho" for name, _ in found):
            print("no %s of sekisho in %s: %s cannot install it" % (form, folder, ", ".join(platforms)), file=sys.stderr)
            continue
        version = re.sub(r"[^A-Za-z0-9_.-]", ".", version)
        if manifest["version"] not in ("", version):
            die("the packages are of different versions: %s and %s" % (manifest["version"], version))
        manifest["version"] = version
        file, sha256, serves = write_family(folder, out, form, found, version)
        manifest["files"][file] = {"checksums": {"sha256": sha256}}
        for platform, releases in platforms.items():
            manifest["packages"][platform] = {r: {arch: {"file": file} for arch in serves} for r in releases}
    if not manifest["files"]:
        die("no package of sekisho in " + folder)
    with open(os.path.join(out, "manifest.json"), "w", encoding="ascii") as f:
        json.dump(manifest, f, indent=2)
        f.write("\n")
    for name in sorted(manifest["files"]) + ["manifest.json"]:
        print(os.path.join(out, name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
