#!/usr/bin/env python3
"""The RPM packages: rpmlint, what they hold and require, and their life in a root where no systemd runs, as an image that is
being built: install, verify, run, erase. The root has a shell, the tools of the scriptlets and the libraries of the machine,
with libpcap under the name that it has on Amazon Linux 2023 and RHEL 9; its systemctl only writes down what it is told. What
they do with dnf on hosts that run is in operations.py. Needs root (chroot), rpm, rpmlint.

  rpm.py --packages DIR
"""
import argparse
import glob
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time

from debug_info import strange

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NAMES = ("sekisho", "sekisho-manager", "sekisho-rules")
TOOLS = ("sh", "getent", "groupadd", "useradd", "cat", "rm")
CONFIG = {"etc/sekisho/sekisho.yaml": (0o640, "root"), "etc/sekisho/manager.yaml": (0o640, "sekisho-manager")}
FOLDERS = {"var/lib/sekisho": (0o711, "root"), "var/log/sekisho": (0o750, "root"),
           "var/lib/sekisho-manager": (0o700, "sekisho-manager")}
UNITS = ("sekisho", "sekisho-drain", "sekisho-manager")
USERS = ("sekisho", "sekisho-report", "sekisho-manager")
# Folders of the distributions' own packages.
STANDARD = ("var/log", "var/tmp", "dev", "proc", "tmp", "etc/logrotate.d", "usr/share/licenses",
            "usr/lib/systemd/system", "usr/libexec", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "usr/share/bash-completion/completions",
            "usr/share/doc", "usr/share/man/man1", "usr/share/man/man5", "usr/share/man/man8")
SYSTEMCTL = '#!/bin/sh\necho "$*" >>/systemctl.log\n'


def run(*cmd, check=True, **kw):
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", **kw)
    if check and done.returncode != 0:
        raise AssertionError("%s: exit %d: %s" % (" ".join(cmd), done.returncode, done.stdout.strip()))
    return done


class Root:
    """A folder to chroot into. old: a folder whose libraries are taken in place of the machine's."""

    def __init__(self, path, rpms, old=None):
        self.path, self.dbpath, self.old = path, "/var/lib/rpm", old
        for d in ("usr/bin", "var/lib/rpm", *STANDARD):
            os.makedirs(self.at(d))
        for link in ("bin", "sbin", "lib", "lib64"):
            os.symlink("usr/bin" if "bin" in link else "usr/lib", self.at(link))
        os.symlink("bin", self.at("usr/sbin"))
        os.symlink("lib", self.at("usr/lib64"))
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.write("etc/group", "root:x:0:\n")
        self.write("usr/bin/systemctl", SYSTEMCTL, 0o755)
        self.write("systemctl.log", "")
        for tool in TOOLS:
            found = os.path.realpath(shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin"))
            shutil.copy(found, self.at("usr/bin", tool))
            self.libraries(found)
        for rpm in rpms:
            for binary in binaries(rpm, path):
                self.libraries(binary)
                os.unlink(binary)
        os.mknod(self.at("dev/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(self.at("dev/urandom"), 0o666 | stat.S_IFCHR, os.makedev(1, 9))
        self.rpm("--initdb")

    def at(self, *parts):
        return os.path.join(self.path, *parts)

    def write(self, name, text, mode=0o644):
        with open(self.at(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.at(name), mode)

    def read(self, name):
        with open(self.at(name), encoding="utf-8") as f:
            return f.read()

    def libraries(self, program):
        """Copies what program links. libpcap.so.1 is Debian's libpcap.so.0.8, the same library."""
        env = dict(os.environ, LD_LIBRARY_PATH=self.old) if self.old else None
        for line in run("ldd", program, env=env).stdout.splitlines():
            m = re.match(r"^\s+(?:(\S+) => )?(/\S+|not found)", line)
            if not m:
                continue
            name, found = m.group(1) or os.path.basename(m.group(2)), m.group(2)
            if found == "not found":
                assert name == "libpcap.so.1", "%s: %s is not found here" % (program, name)
                found = run("sh", "-c", "ldconfig -p | sed -n 's,.*libpcap.so.0.8 .*=> ,,p' | head -n 1").stdout.strip()
                for needed in re.findall(r"=> (/\S+)", run("ldd", found).stdout):
                    shutil.copy(needed, self.at("usr/lib", os.path.basename(needed)))
            if not os.path.exists(self.at("usr/lib", name)):
                shutil.copy(found, self.at("usr/lib", name))

    def rpm(self, *args, check=True):
        return run("rpm", "--root", self.path, "--dbpath", self.dbpath, *args, check=check)

    def run(self, *cmd, check=True):
        return run("chroot", self.path, *cmd, check=check)

    def told(self):
        """What systemctl was told since the last look: a line for each unit."""
        lines = []
        for line in self.read("systemctl.log").splitlines():
            verb, units = re.fullmatch(r"(.*?)((?: [a-z-]+\.service)*)", line).groups()
            lines += [verb + " " + unit for unit in units.split()] or [verb]
        self.write("systemctl.log", "")
        return lines

    def files(self):
        found = set()
        for folder, dirs, names in os.walk(self.path):
            for n in dirs + names:
                found.add(os.path.relpath(os.path.join(folder, n), self.path))
        return {f for f in found if not f.startswith("var/lib/rpm/")}

    def owner(self, name):
        """(mode, group): groups are looked up in the root."""
        st = os.stat(self.at(name))
        groups = {int(f[2]): f[0] for f in (line.split(":") for line in self.read("etc/group").splitlines())}
        return stat.S_IMODE(st.st_mode), groups[st.st_gid]


def unpack(rpm, folder):
    with subprocess.Popen(["rpm2cpio", rpm], stdout=subprocess.PIPE) as archive:
        subprocess.run(["cpio", "-idm", "--quiet", "--no-absolute-filenames"], stdin=archive.stdout, cwd=folder, check=True)


def binaries(rpm, scratch):
    """The programs of a package, as files below scratch."""
    with tempfile.TemporaryDirectory() as d:
        unpack(rpm, d)
        for program in glob.glob(d + "/usr/bin/*"):
            yield shutil.copy(program, os.path.join(scratch, "program"))


def other_version(packages, version, folder, forgets=None):
    """The same packages as another version, with configuration that has a line more; the agent has forgotten a key."""
    files = os.path.join(folder, "files")
    os.mkdir(files, 0o755)
    for rpm in packages:
        unpack(rpm, files)
    shutil.rmtree(files + "/usr/share/licenses")
    if forgets:
        with open(files + "/usr/bin/sekisho", "r+b") as f:
            text = f.read().replace(forgets.encode(), forgets[:-1].encode() + b"X")
            f.seek(0)
            f.write(text)
    for name in CONFIG:
        with open(os.path.join(files, name), "a", encoding="utf-8") as f:
            f.write("# of version %s\n" % version)
    out = os.path.join(folder, version)
    env = dict(os.environ, RPM_VERSION=version, RPM_FILES=files)
    run(os.path.join(ROOT, "packaging/rpm/build.sh"), out, env=env)
    shutil.rmtree(files)
    return [one(out, name) for name in NAMES]


def one(folder, name):
    found = [p for arch in (os.uname().machine, "noarch") for p in glob.glob("%s/%s-[0-9]*.%s.rpm" % (folder, name, arch))]
    assert len(found) == 1, "%s: %d packages %s" % (folder, len(found), name)
    return found[0]


class Life:
    """Cases, in this order: each goes on where the one before has ended."""

    def __init__(self, packages, scratch):
        self.dir, self.rpms, self.scratch = packages, [one(packages, name) for name in NAMES], scratch
        self.version = run("rpm", "-qp", "--qf", "%{VERSION}", self.rpms[0]).stdout

    def rpmlint(self):
        out = run("rpmlint", "-c", os.path.join(ROOT, "packaging/rpm/rpmlint.toml"), *glob.glob(self.dir + "/*.rpm"),
                  os.path.join(ROOT, "packaging/rpm/sekisho.spec"), check=False).stdout
        assert "0 errors, 0 warnings, 0 badness" in out, out

    def gate(self):
        run("python3", "-B", os.path.join(HERE, "check_rpm_gate.py"), "--packages", self.dir)

    def say_what_they_are(self):
        with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as f:
            want = re.search(r"project\(sekisho VERSION ([0-9.]+)", f.read()).group(1)
        with open(os.path.join(ROOT, "packaging/rpm/sekisho.spec"), encoding="utf-8") as f:
            assert "sekisho_version %s}" % want in f.read(), "sekisho.spec has another version than CMakeLists.txt"
        for rpm in self.rpms:
            asked = run("rpm", "-qp", "--qf", "%{VERSION} %{ARCH} %{LICENSE} %{BUILDHOST}", rpm).stdout.split()
            assert asked == [want, "noarch" if "rules" in rpm else os.uname().machine, "GPL-3.0-or-later", "localhost"], asked
        agent, manager, rules = ([line.split(" ")[0] for line in run("rpm", "-qp", "--requires", p).stdout.splitlines()]
                                 for p in self.rpms)
        assert "sekisho-rules" in agent and "shadow-utils" in agent and "systemd" in agent, agent
        assert "shadow-utils" in manager and "systemd" in manager, manager
        assert not [r for r in rules if not r.startswith("rpmlib(")], rules

    def config_is_marked(self):
        marked = "\n".join(run("rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", p).stdout for p in self.rpms)
        for name in (*CONFIG, "etc/logrotate.d/sekisho"):
            assert re.search("^/%s cn$" % name, marked, re.M), "%s is not config(noreplace)" % name

    def scriptlets_are_posix(self):
        for rpm in self.rpms:
            for tag in ("PREIN", "POSTIN", "PREUN", "POSTUN"):
                script, interpreter = (run("rpm", "-qp", "--qf", "%%{%s}" % t, rpm).stdout for t in (tag, tag + "PROG"))
                if script == "(none)":
                    continue
                assert interpreter == "/bin/sh" and "%{" not in script and "%systemd" not in script, (rpm, tag, script)
                path = os.path.join(self.scratch, "scriptlet")
                with open(path, "w", encoding="utf-8") as f:
                    f.write("#!/bin/sh\n" + script + "\n")
                run("dash", "-n", path)
                if shutil.which("shellcheck"):
                    run("shellcheck", "-s", "sh", path)

    def debug_information(self):
        """A debugger finds it by the build ID, and in it functions with the lines of our source; none is in the programs."""
        for name in ("sekisho", "sekisho-manager"):
            with tempfile.TemporaryDirectory() as d:
                for rpm in (one(self.dir, name), one(self.dir, name + "-debuginfo")):
                    unpack(rpm, d)
                program = d + "/usr/bin/" + name
                build_id = re.search(r"Build ID: (\w+)", run("readelf", "-n", program).stdout).group(1)
                debug = "%s/usr/lib/debug/.build-id/%s/%s.debug" % (d, build_id[:2], build_id[2:])
                assert "no symbols" in run("nm", program).stdout
                assert ".debug_info" not in run("readelf", "-SW", program).stdout
                address = re.search(r"^(\w+) T main$", run("nm", debug).stdout, re.M).group(1)
                assert not strange(debug, self.version), strange(debug, self.version)
                function, line = run("addr2line", "-f", "-e", debug, address).stdout.split()[:2]
                source, number = line.split(":")
                with open(source.replace("/usr/src/sekisho-" + self.version, ROOT), encoding="utf-8") as f:
                    text = f.read().splitlines()
                # A function begins with its brace.
                assert function == "main" and text[int(number) - 1] == "{" and text[int(number) - 2].startswith("int main("), line

    def source_package(self):
        rpm = one_source(self.dir)
        inside = run("rpm", "-qpl", rpm).stdout.split()
        assert sorted(inside) == ["sekisho-%s.tar.gz" % self.version, "sekisho.spec"], inside

    # --- life ---

    def install(self):
        self.root = Root(os.path.join(self.scratch, "root"), self.rpms)
        self.before = self.root.files()
        self.root.rpm("-ivh", "--nodeps", *self.rpms)
        for name, (mode, group) in {**CONFIG, **FOLDERS}.items():
            assert self.root.owner(name) == (mode, group), (name, self.root.owner(name))
        users = {line.split(":")[0]: line.split(":") for line in self.root.read("etc/passwd").splitlines()}
        for name in USERS:
            assert users[name][6] == "/sbin/nologin" and int(users[name][2]) < 1000, users[name]
        told = self.root.told()
        for unit in UNITS:
            assert "--no-reload preset %s.service" % unit in told, told
        assert not [t for t in told if "preset" not in t], "told to a systemd that does not run: %s" % told

    def verify(self):
        self.root.rpm("-V", "--nodeps", *NAMES)
        for name in ("usr/bin/sekisho", "etc/sekisho/manager.yaml"):
            owner = self.root.rpm("-qf", "/" + name).stdout
            assert owner.startswith("sekisho"), owner

    def runs(self):
        for program in ("sekisho", "sekisho-manager"):
            said = self.root.run("/usr/bin/" + program, "--version").stdout
            assert said == "%s %s\n" % (program, self.version), said
        self.root.run("/usr/bin/sekisho", "check")

    def finds_attacks(self):
        with open(os.path.join(ROOT, "tests/e2e/starter-attacks/case.json"), encoding="utf-8") as f:
            want = json.load(f)["alerts"]
        shutil.copy(os.path.join(ROOT, "pcaps/attacks.pcap"), self.root.at("tmp"))
        self.root.run("/usr/bin/sekisho", "replay", "-q", "-l", "/tmp/out", "/tmp/attacks.pcap")
        got = {}
        for line in self.root.read("tmp/out/eve.json").splitlines():
            event = json.loads(line)
            if event["event_type"] == "alert":
                sid = str(event["alert"]["signature_id"])
                got[sid] = got.get(sid, 0) + 1
        shutil.rmtree(self.root.at("tmp/out"))
        os.unlink(self.root.at("tmp/attacks.pcap"))
        assert got == want, "alerts %s, wanted %s" % (got, want)

    def enrols(self):
        """libcurl, libmicrohttpd, GnuTLS, SQLite and OpenSSL at work: an agent enrols with a manager, both of the packages."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        state = "/tmp/manager"
        self.root.write("tmp/manager.yaml", "listen: 127.0.0.1:%d\nstate-dir: %s\n" % (port, state))
        self.root.write("tmp/agent.yaml", "manager:\n  state-dir: /tmp/uplink\n")
        manager = ("/usr/bin/sekisho-manager", "-c", "/tmp/manager.yaml")
        said = self.root.run(manager[0], "init", *manager[1:], "--name", "127.0.0.1").stdout
        fingerprint = re.search(r"\b[0-9a-f]{64}\b|\b(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\b", said).group(0)
        token = self.root.run(manager[0], "token", "create", *manager[1:]).stdout.strip().splitlines()[-1]
        self.root.write("tmp/token", token + "\n", 0o600)
        log = open(self.root.at("tmp/log"), "wb")
        with log, subprocess.Popen(["chroot", self.root.path, manager[0], "run", *manager[1:]], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log) as daemon:
            try:
                wait_for_port(port, daemon, self.root)
                self.root.run("/usr/bin/sekisho", "enroll", "-c", "/tmp/agent.yaml", "--manager", "https://127.0.0.1:%d" % port,
                              "--token-file", "/tmp/token", "--ca-fingerprint", fingerprint)
                agents = json.loads(self.root.run(manager[0], "agents", "--json", *manager[1:]).stdout)
                assert len(agents) == 1, agents
            finally:
                daemon.terminate()
                daemon.wait(20)
        for left in ("tmp/manager", "tmp/uplink"):
            shutil.rmtree(self.root.at(left))
        for left in ("tmp/manager.yaml", "tmp/agent.yaml", "tmp/token", "tmp/log", "var/lib/sekisho/signing-keys"):
            os.unlink(self.root.at(left))

    def erase(self):
        with open(self.root.at("etc/sekisho/sekisho.yaml"), "a", encoding="utf-8") as f:
            f.write("# my own\n")
        self.root.told()
        said = self.root.rpm("-e", "--nodeps", *NAMES).stdout
        assert "sekisho.yaml.rpmsave" in said, said
        assert self.root.read("etc/sekisho/sekisho.yaml.rpmsave").endswith("# my own\n")
        told = self.root.told()
        for unit in UNITS:
            assert "--no-reload disable %s.service" % unit in told, told
        assert not [t for t in told if "disable" not in t], "told to a systemd that does not run: %s" % told
        os.unlink(self.root.at("etc/sekisho/sekisho.yaml.rpmsave"))
        os.rmdir(self.root.at("etc/sekisho"))
        accounts = {"etc/" + n for n in ("passwd-", "group-", "shadow", "gshadow", "subuid", "subgid", "shadow-", "gshadow-",
                                         "subuid-", "subgid-", ".pwd.lock")}
        left = {f for f in self.root.files() - self.before - accounts}
        assert not left, "left behind: %s" % sorted(left)
        assert "sekisho-manager:" in self.root.read("etc/passwd"), "users stay, so that their numbers are nobody else's"

    def install_again(self):
        self.root.rpm("-ivh", "--nodeps", *self.rpms)
        self.root.rpm("-V", "--nodeps", *NAMES)
        assert "--no-reload preset sekisho.service" in self.root.told()


def one_source(folder):
    found = glob.glob(folder + "/sekisho-[0-9]*.src.rpm")
    assert len(found) == 1, "%s: %d source packages" % (folder, len(found))
    return found[0]


def wait_for_port(port, daemon, root):
    for _ in range(300):
        assert daemon.poll() is None, "the manager has ended: %s" % root.read("tmp/log")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the manager does not listen: %s" % root.read("tmp/log"))


STILL = ("rpmlint", "gate", "say_what_they_are", "config_is_marked", "scriptlets_are_posix", "debug_information", "source_package")
ALIVE = ("install", "verify", "runs", "finds_attacks", "enrols", "erase", "install_again")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", required=True, metavar="DIR")
    args = p.parse_args()
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="sekisho-rpm-") as scratch:
        os.chmod(scratch, 0o755)
        life = Life(os.path.abspath(args.packages), scratch)
        for name in STILL + ALIVE:
            if name in ALIVE and os.geteuid() != 0:
                print("%s: SKIP: needs root for chroot" % name)
                skipped += 1
                continue
            try:
                getattr(life, name)()
                print("ok   " + name)
                passed += 1
            except (AssertionError, AttributeError, OSError, subprocess.SubprocessError, ValueError) as e:
                print("FAIL %s: %s" % (name, e))
                failed += 1
    print("rpm: %d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
