#!/usr/bin/env python3
"""The programs of the RPM packages with libraries as old as those of RHEL 9: Debian 11's, fetched with this machine's apt,
in a root like that of rpm.py. No part of `./dev test`: it needs the package mirror.

  old_libraries.py --packages DIR
"""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

import rpm

# libcrypto, libssl, libjansson and glibc stay this machine's: Debian 11 has OpenSSL 1.1, and a libjansson without
# versions of symbols.
PACKAGES = """libbrotli1 libcap-ng0 libcom-err2 libcurl4 libffi7 libgmp10 libgnutls30 libgssapi-krb5-2 libhogweed6 libidn2-0
libk5crypto3 libkrb5-3 libkrb5support0 libldap-2.4-2 libmicrohttpd12 libmnl0 libnettle8 libnftnl11 libnghttp2-14
libp11-kit0 libpcap0.8 libpcre2-8-0 libpq5 libpsl5 librtmp1 libsasl2-2 libseccomp2 libsqlite3-0 libssh2-1 libssl1.1
libsystemd0 libtasn1-6 libunistring2 libyaml-0-2 zlib1g""".split()
USED = ("libbrotlidec.so.1", "libcap-ng.so.0", "libcurl.so.4", "libgnutls.so.30", "libmicrohttpd.so.12", "libmnl.so.0",
        "libnftnl.so.11", "libpcap.so.1", "libpcre2-8.so.0", "libpq.so.5", "libseccomp.so.2", "libsqlite3.so.0", "libsystemd.so.0",
        "libyaml-0.so.2", "libz.so.1")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch(folder):
    """Debian 11's packages, checked by apt, from the mirror that this machine has for Debian. A folder of libraries."""
    sites = rpm.run("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").stdout.split()
    site = next(s for s in sites if s.rstrip("/").endswith("/debian"))
    apt = os.path.join(folder, "apt")
    for d in ("lists/partial", "cache/archives/partial", "empty"):
        os.makedirs(os.path.join(apt, d))
    open(os.path.join(apt, "status"), "w").close()
    with open(os.path.join(apt, "sources.list"), "w", encoding="ascii") as f:
        f.write("deb [signed-by=%s] %s bullseye main\n" % (KEYS, site))
    options = ["-q", "-o", "Dir::Etc::SourceList=%s/sources.list" % apt, "-o", "Dir::Etc::SourceParts=%s/empty" % apt,
               "-o", "Dir::State::Lists=%s/lists" % apt, "-o", "Dir::State::status=%s/status" % apt,
               "-o", "Dir::Cache=%s/cache" % apt, "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root",
               "-o", "Acquire::Check-Valid-Until=false"]
    rpm.run("apt-get", *options, "update")
    rpm.run("apt-get", *options, "download", *PACKAGES, cwd=apt)
    root, libraries = os.path.join(folder, "debian-11"), os.path.join(folder, "libraries")
    os.mkdir(libraries)
    for deb in glob.glob(apt + "/*.deb"):
        rpm.run("dpkg-deb", "-x", deb, root)
    for path in glob.glob(root + "/**/*.so*", recursive=True):
        link = os.path.join(libraries, os.path.basename(path))
        if not os.path.lexists(link):
            os.symlink(os.path.realpath(path), link)
    os.symlink(os.path.realpath(libraries + "/libpcap.so.0.8"), libraries + "/libpcap.so.1")
    return libraries


class Old(rpm.Life):
    def has_old_libraries(self):
        self.old = fetch(self.scratch)
        self.root = rpm.Root(os.path.join(self.scratch, "root"), self.rpms, self.old)
        for name in USED:
            with open(self.root.at("usr/lib", name), "rb") as a, open(os.path.join(self.old, name), "rb") as b:
                assert a.read() == b.read(), "%s is not Debian 11's" % name
        self.root.rpm("-i", "--nodeps", *self.rpms)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", required=True, metavar="DIR")
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="sekisho-old-") as scratch:
        os.chmod(scratch, 0o755)
        life = Old(os.path.abspath(p.parse_args().packages), scratch)
        for name in ("has_old_libraries", "runs", "finds_attacks", "enrols"):
            try:
                getattr(life, name)()
                print("ok   " + name)
                passed += 1
            except (AssertionError, AttributeError, OSError, StopIteration, subprocess.SubprocessError, ValueError) as e:
                print("FAIL %s: %s" % (name, e))
                failed += 1
    print("old_libraries: %d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
