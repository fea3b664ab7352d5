#!/usr/bin/env python3
"""What is in the packages of a folder, as SPDX 2.3 (JSON): packages, their files, and the libraries that programs link:
statically, with the version that is inside; dynamically, with Debian's version for DEBs, and without one for RPMs, which
take what the distribution has.

    sbom.py PACKAGESDIR OUTPUT [ROOT]

ROOT is where packages for arm64 were compiled (packaging/cross): Debian's versions of what they link are those of its dpkg.
The same packages give the same bytes: the time is SOURCE_DATE_EPOCH. Needs dpkg-deb and dpkg-query for DEBs, rpm2cpio and
cpio for RPMs.
"""
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

SUPPLIER = "Organization: Sekisho maintainers"
LICENCE = "GPL-3.0-or-later"
# soname without its number: the library's name and licence.
LIBRARIES = {
    "libbrotlidec": ("brotli", "MIT"), "libc": ("glibc", "LGPL-2.1-or-later"), "libm": ("glibc", "LGPL-2.1-or-later"),
    "libcap-ng": ("libcap-ng", "LGPL-2.1-or-later"), "libcrypto": ("openssl", "Apache-2.0"),
    "libssl": ("openssl", "Apache-2.0"), "libcurl": ("curl", "curl"),
    "libgcc_s": ("gcc", "GPL-3.0-or-later WITH GCC-exception-3.1"), "libgnutls": ("gnutls", "LGPL-2.1-or-later"),
    "libhs": ("vectorscan", "BSD-3-Clause AND BSD-2-Clause AND BSL-1.0"), "libjansson": ("jansson", "MIT"),
    "libmicrohttpd": ("libmicrohttpd", "LGPL-2.1-or-later"), "libmnl": ("libmnl", "LGPL-2.1-or-later"),
    "libnftnl": ("libnftnl", "GPL-2.0-or-later"), "libpcap": ("libpcap", "BSD-3-Clause"),
    "libpcre2-8": ("pcre2", "BSD-3-Clause"), "libpq": ("postgresql", "PostgreSQL"),
    "libseccomp": ("libseccomp", "LGPL-2.1-only"), "libsqlite3": ("sqlite", "blessing"),
    "libstdc++": ("gcc", "GPL-3.0-or-later WITH GCC-exception-3.1"), "libsystemd": ("systemd", "LGPL-2.1-or-later"),
    "libyaml-0": ("libyaml", "MIT"), "libz": ("zlib", "Zlib"),
}


def die(text):
    sys.exit("packaging/sbom.py: " + text)


def ask(*cmd):
    try:
        return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8").stdout
    except FileNotFoundError:
        die("%s is not installed" % cmd[0])
    except subprocess.CalledProcessError as e:
        die("%s: %s" % (" ".join(cmd), e.stderr.strip()))


def digest(path, kind):
    h = hashlib.new(kind)
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()


def spdx_id(*parts):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(parts))


def unpack(path, folder):
    if path.endswith(".deb"):
        ask("dpkg-deb", "-x", path, folder)
    else:
        with subprocess.Popen(["rpm2cpio", path], stdout=subprocess.PIPE) as archive:
            subprocess.run(["cpio", "-idm", "--quiet", "--no-absolute-filenames"], stdin=archive.stdout, cwd=folder, check=True)


def regular_files(folder):
    for place, _, names in sorted(os.walk(folder)):
        for path in (os.path.join(place, n) for n in sorted(names)):
            if not os.path.islink(path):
                yield path


def is_program(path):
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def architecture(program):
    """Debian's name for the machine of an ELF file."""
    with open(program, "rb") as f:
        machine = int.from_bytes(f.read(20)[18:20], "little")
    return {62: "amd64", 183: "arm64"}.get(machine, "machine %d" % machine)


def needed(program):
    return [n for n in re.findall(r"^ +NEEDED +(\S+)$", ask("objdump", "-p", program), re.M) if not n.startswith("ld-linux")]


def known(soname):
    key = re.sub(r"\.(so|a)\b.*", "", soname)
    if key not in LIBRARIES:
        die("%s is linked, and LIBRARIES does not know its licence" % soname)
    return LIBRARIES[key]


class Machine:
    """Where Debian's libraries for one architecture are: this machine, or a root that compiles for another one."""

    def __init__(self, arch, root=None):
        self.root, self.triplet = root or "/", {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
        self.origin = "Debian" if root is None else "Debian " + arch
        self.query = ["dpkg-query", "--admindir=" + os.path.join(self.root, "var/lib/dpkg")]

    def library(self, soname):
        """(package, version, architecture) of Debian that owns a library."""
        for folder in ("/lib", "/usr/lib"):
            path = os.path.join(self.root, folder[1:], self.triplet, soname)
            if os.path.lexists(path):
                break
        else:
            die("%s is not in %s" % (soname, os.path.join(self.root, "usr/lib", self.triplet)))
        names = {os.path.basename(path), os.path.basename(os.path.realpath(path))}
        for p in sorted("%s/%s/%s" % (folder, self.triplet, n) for folder in ("/lib", "/usr/lib") for n in names):
            done = subprocess.run([*self.query, "-S", p], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")
            if done.returncode == 0:
                package = done.stdout.partition(": ")[0]
                name, version, arch = ask(*self.query, "-W", "-f", "${Package} ${Version} ${Architecture}", package).split()
                return name, version, arch
        die("no package owns %s" % path)


class Document:
    def __init__(self, root):
        self.packages, self.files, self.relations = {}, {}, set()
        own = ask("dpkg", "--print-architecture").strip()
        self.machines = {own: Machine(own), **({"arm64": Machine("arm64", root)} if root else {})}

    def package(self, ident, **fields):
        self.packages[ident] = {"SPDXID": ident, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                                "copyrightText": "NOASSERTION", **fields}
        return ident

    def library(self, soname, origin, version=None, purl=None):
        name, licence = known(soname)
        fields = {"name": name, "licenseConcluded": licence, "licenseDeclared": licence, "supplier": "NOASSERTION",
                  "summary": "%s of %s" % (soname, origin)}
        if version:
            fields["versionInfo"] = version
        if purl:
            fields["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]
        return self.package(spdx_id("Library", origin, soname), **fields)

    def debian_library(self, soname, machine, file=None):
        """The entry of a library as Debian has it; file: where it is looked up, when it is no file that it is."""
        owner, version, arch = machine.library(file or soname)
        return self.library(soname, machine.origin, version, "pkg:deb/debian/%s@%s?arch=%s" % (owner, quote(version), arch))

    def relate(self, a, kind, b):
        self.relations.add((a, kind, b))

    def artefact(self, path):
        base = os.path.basename(path)
        debian = base.endswith(".deb")
        name, version = (ask("dpkg-deb", "-f", path, f).strip() for f in ("Package", "Version")) if debian else \
            ask("rpm", "-qp", "--qf", "%{NAME} %{VERSION}-%{RELEASE}", path).split()
        ident = self.package(spdx_id("Package", base), name=name, versionInfo=version, packageFileName=base, supplier=SUPPLIER,
                             licenseConcluded=LICENCE, licenseDeclared=LICENCE,
                             checksums=[{"algorithm": "SHA256", "checksumValue": digest(path, "sha256")}])
        self.relate("SPDXRef-DOCUMENT", "DESCRIBES", ident)
        self.relate(ident, "GENERATED_FROM", "SPDXRef-Source")
        sums = []
        with tempfile.TemporaryDirectory() as d:
            unpack(path, d)
            for file in regular_files(d):
                entry = self.file(file, "./" + os.path.relpath(file, d), base, ident)
                sums.append(self.files[entry]["checksums"][0]["checksumValue"])
                if is_program(file):
                    self.links(file, entry, debian)
        # As SPDX 2.3 wants it: the sum of all sums.
        code = hashlib.sha1("".join(sorted(sums)).encode()).hexdigest()
        self.packages[ident].update(filesAnalyzed=True, licenseInfoFromFiles=["NOASSERTION"],
                                    packageVerificationCode={"packageVerificationCodeValue": code})

    def file(self, path, name, base, package):
        ident = spdx_id("File", base, name[2:])
        self.files[ident] = {"SPDXID": ident, "fileName": name, "fileTypes": ["BINARY" if is_program(path) else "OTHER"],
                             "licenseConcluded": LICENCE, "licenseInfoInFiles": ["NOASSERTION"],
                             "copyrightText": "NOASSERTION",
                             "checksums": [{"algorithm": a, "checksumValue": digest(path, a.lower())} for a in ("SHA1", "SHA256")]}
        self.relate(package, "CONTAINS", ident)
        return ident

    def links(self, path, ident, debian):
        sonames, arch = needed(path), architecture(path)
        if arch not in self.machines:
            die("%s: for %s: where are its libraries?" % (path, arch))
        machine = self.machines[arch]
        for soname in sonames:
            library = self.debian_library(soname, machine) if debian else self.library(soname, "Amazon Linux 2023 and RHEL 9")
            self.relate(ident, "DYNAMIC_LINK", library)
        if has_vectorscan(path) and not any(s.startswith("libhs.") for s in sonames):
            self.relate(ident, "STATIC_LINK", self.debian_library("libhs.a", machine, "libhs.so.5"))

    def json(self, sums, version, when):
        return {
            "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "sekisho-" + version,
            "documentNamespace": "https://sekisho.example/spdx/sekisho-%s-%s" % (version, sums),
            "creationInfo": {"created": when, "creators": [SUPPLIER, "Tool: packaging/sbom.py"]},
            "packages": [self.packages[i] for i in sorted(self.packages)],
            "files": [self.files[i] for i in sorted(self.files)],
            "relationships": [{"spdxElementId": a, "relationshipType": k, "relatedSpdxElement": b}
                              for a, k, b in sorted(self.relations)]}


def quote(version):
    return version.replace("+", "%2B").replace(":", "%3A").replace("~", "%7E")


def has_vectorscan(program):
    """Its compiler's complaint about an expression stands in every program that it is in."""
    with open(program, "rb") as f:
        return b"Embedded start anchors not supported." in f.read()


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: sbom.py PACKAGESDIR OUTPUT [ROOT]")
    folder, output, *root = sys.argv[1:]
    artefacts = [os.path.join(folder, n) for n in sorted(os.listdir(folder))
                 if n.endswith((".deb", ".rpm")) and not re.search(r"\.src\.rpm$|-dbgsym_|-debuginfo-", n)]
    if not artefacts:
        die("%s: no packages" % folder)
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(top, "CMakeLists.txt"), encoding="utf-8") as f:
        version = re.search(r"project\(sekisho VERSION ([0-9.]+)", f.read()).group(1)
    when = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document = Document(*root or [None])
    document.package("SPDXRef-Source", name="sekisho", versionInfo=version, supplier=SUPPLIER, licenseConcluded=LICENCE,
                     licenseDeclared=LICENCE, summary="The source that all packages are built from")
    for path in artefacts:
        document.artefact(path)
    sums = hashlib.sha256("".join(digest(p, "sha256") for p in artefacts).encode()).hexdigest()
    with open(output, "w", encoding="utf-8") as f:
        json.dump(document.json(sums, version, when.strftime("%Y-%m-%dT%H:%M:%SZ")), f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
