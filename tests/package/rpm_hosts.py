"""Hosts with dnf and rpm, for tests of the RPM packages: the Debian of hosts.py, with what makes it look to them like Amazon
Linux 2023 or RHEL 9.

The libraries are Debian's. What rpm knows to be installed, and a repository offers, are packages without files: each library
of distributions.yaml as the distribution has it, with no newer symbols than its own. A dependency that the distribution
could not meet stops dnf here too. As there, no unit is enabled by being installed, and systemd's package looks after users,
folders and units that others bring.
"""
import glob
import os
import re
import shutil

import yaml

import rpm
from check_rpm_gate import number, split
from hosts import Host, output, rpm_layer

HERE = os.path.dirname(os.path.abspath(__file__))
# What no image need have: dnf takes it from the repository, and away again.
OFFERED = ("libmicrohttpd", "libpq", "libpcap", "jansson", "logrotate")
RELEASE = {"al2023": "2023", "rhel9": "9"}
# As systemd's source has them for distributions with RPM (src/rpm/triggers.systemd.in): whenever a package brings such files.
TRIGGERS = """
%transfiletriggerin -P 1000700 -n systemd -- /usr/lib/sysusers.d/
systemd-sysusers || :
%transfiletriggerin -P 1000500 -n systemd -- /usr/lib/tmpfiles.d/
systemd-tmpfiles --create || :
%transfiletriggerin -P 900900 -n systemd -- /usr/lib/systemd/system/ /etc/systemd/system/
systemctl daemon-reload || :
systemctl reload-or-restart --marked || :
%transfiletriggerpostun -P 1000100 -n systemd -- /usr/lib/systemd/system/ /etc/systemd/system/
systemctl daemon-reload || :
"""
DNF = "[main]\ngpgcheck=1\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\n"
REPOSITORY = "[distribution]\nname=What the distribution offers\nbaseurl=file:///srv/rpm\ngpgcheck=0\n"


class Distribution:
    """Its packages: installed and offered, in a folder each."""

    def __init__(self, name, packages, folder):
        self.name = name
        with open(os.path.join(HERE, "distributions.yaml"), encoding="utf-8") as f:
            self.libraries = yaml.safe_load(f)[name]
        self.required = set()
        for p in packages:
            self.required.update(output("rpm", "-qp", "--requires", p).splitlines())
        self.installed, self.offered = os.path.join(folder, "installed"), os.path.join(folder, "offered")
        for d in (self.installed, self.offered):
            os.makedirs(d)
        spec = os.path.join(folder, "distribution.spec")
        with open(spec, "w", encoding="utf-8") as f:
            f.write(self.spec())
        rpm.run("rpmbuild", "--quiet", "-bb", "--define", "_topdir " + folder, "--define", "_rpmdir " + self.installed,
                "--define", "_rpmfilename %%{NAME}.rpm", "--define", "_binary_payload w0.gzdio", spec)
        for name in OFFERED:
            shutil.move(os.path.join(self.installed, name + ".rpm"), self.offered)
        rpm.run("createrepo_c", "-q", self.offered)

    def provides(self, soname):
        """Of what the packages ask for, what this distribution has."""
        highest = self.libraries[soname].get("highest", {})
        for wanted in self.required:
            m = re.fullmatch(re.escape(soname) + r"\((.*)\)\(64bit\)", wanted)
            if not m:
                continue
            kind, version = split(m[1])
            if not m[1] or (kind in highest and number(version) <= number(highest[kind])):
                yield wanted

    def spec(self):
        found = {"bash": ("5.1", ["/bin/sh"]), "shadow-utils": ("4.9", []), "logrotate": ("3.18", []),
                 "systemd": (self.libraries["libsystemd.so.0"]["version"], []),
                 "system-release": (RELEASE[self.name], ["system-release(releasever) = " + RELEASE[self.name]])}
        for soname, x in self.libraries.items():
            package = found.setdefault(x["package"], (x["version"], []))
            package[1].extend(self.provides(soname))
        found["glibc"][1].append("rtld(GNU_HASH)")
        head = "Version: %s\nSummary: Stands for a distribution's\nLicense: none\n"
        out = "%global debug_package %{nil}\nName: nothing\nRelease: 1\nBuildArch: noarch\n" + head % 1 + "%description\nNothing.\n"
        for name, (version, provided) in found.items():
            out += f"%package -n {name}\n" + head % version + "".join(f"Provides: {p}\n" for p in provided)
            out += f"%description -n {name}\nIt has no files.\n%files -n {name}\n"
        return out + TRIGGERS


class RpmHost(Host):
    """distribution: what it looks like."""

    def __init__(self, bed, name, distribution):
        super().__init__(bed, name, rpm_layer(bed.base) + ":" + bed.base)
        self.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
        self.write("/etc/dnf/dnf.conf", DNF)
        self.write("/etc/yum.repos.d/distribution.repo", REPOSITORY)
        self.write("/usr/lib/systemd/system-preset/99-default-disable.preset", "disable *\n")
        shutil.copytree(distribution.offered, self.at("/srv/rpm"))
        rpm.run("rpm", "--root", self.root, "--dbpath", "/var/lib/rpm", "-i", "--nodeps", "--noscripts", "--notriggers",
                *glob.glob(distribution.installed + "/*.rpm"))

    def has(self, package):
        return self.sh("rpm", "-q", package).returncode == 0

    def changed(self, *packages):
        """What rpm finds to be other than packages have brought it, but for the content of configuration."""
        lines = self.sh("rpm", "-V", *packages).stdout.splitlines()
        return [x for x in lines if not re.fullmatch(r"[S.]\.5\.{4}T\.  c /etc/sekisho/\S+", x)]

    def accounts(self):
        """{user: (what it is for, home, whether it may log in)}"""
        users = [line.split(":") for line in self.read("/etc/passwd").splitlines()]
        return {u[0]: (u[4], u[5], not u[6].endswith("/nologin")) for u in users}

    def accounts_declared(self):
        """The same of what is in sysusers.d."""
        out = {}
        for path in glob.glob(self.at("/usr/lib/sysusers.d/sekisho*.conf")):
            with open(path, encoding="utf-8") as f:
                for name, purpose, home in re.findall(r'^u (\S+) - "(.*)" (\S+) -$', f.read(), re.M):
                    out[name] = (purpose, "/" if home == "-" else home, False)
        return out
